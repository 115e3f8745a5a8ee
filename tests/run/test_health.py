"""Errors about NaN and infinity, and warnings about a collapse."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sngan_jax.run.health import Diverged, Watch
from sngan_jax.run.loop import _diverged
from sngan_jax.step.checks import (
    first_raised,
    flags_of_checks,
    gradient_norm,
    state_checks,
    sums_of_squares,
    update_checks,
)
from tests.run.test_checkpoint import state

G = {"g_loss": jnp.float32(1)}
D = {"d_loss": jnp.float32(1), "d_real": jnp.float32(0), "d_fake": jnp.float32(0)}


def report(of, g_metrics=G, d_metrics=D, g_gradients=None, d_gradients=None, iteration=7):
    g, d = of.generator, of.discriminator
    flags = jnp.concatenate([
        flags_of_checks(state_checks(g, d)),
        *(flags_of_checks(update_checks(name, metrics, sums_of_squares(gradients)))
          for name, metrics, gradients in (("generator", g_metrics, g_gradients or g.params),
                                           ("discriminator", d_metrics, d_gradients or d.params)))])
    return {**g_metrics, **d_metrics, "g_gradient": 1.0, "d_gradient": 1.0, "learning_rate": 1.0,
            "health": {"iteration": jnp.int32(iteration), "flags": flags}}


def bad(tree):
    return jax.tree.map(lambda x: x.at[0, 0].set(jnp.inf), tree)


@pytest.mark.parametrize(("changes", "words"), [
    ({"g_gradients": bad(state(1).generator.params)}, "gradient of generator/dense/kernel is not"),
    ({"d_gradients": bad(state(1).generator.params)}, "gradient of discriminator/dense/kernel is"),
    ({"g_metrics": {"g_loss": jnp.float32("nan")}}, "metric g_loss is not finite"),
    ({"d_metrics": D | {"d_real": jnp.float32("nan"), "d_loss": jnp.float32("nan")}},
     r"metric d_loss \(and 1 more\) is not finite, on a batch of real images")])
def test_the_first_cause_is_named(changes, words):
    watch = Watch(state(0))
    watch.note(report(state(1), iteration=0))
    watch.check()
    watch.note(report(state(1), **changes))
    with pytest.raises(Diverged, match=f"in iteration 7 the {words}"):
        watch.check()


def test_a_parameter_goes_before_all_that_follows_from_it():
    whole = state(1)
    d = whole.discriminator.replace(params=bad(whole.discriminator.params))
    watch = Watch(state(0))
    watch.note(report(whole.replace(discriminator=d), {"g_loss": jnp.float32("nan")},
                      g_gradients=bad(whole.generator.params)))
    with pytest.raises(Diverged, match="the parameter discriminator/dense/kernel is not finite"):
        watch.check()


def test_the_norm_of_gradients_is_that_of_one_vector():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.float16([3, -4])}
    want = np.linalg.norm(np.r_[np.arange(6.0), 3, 4])
    assert float(gradient_norm(sums_of_squares(tree))) == pytest.approx(want, rel=1e-6)


def test_first_raised():
    flags = jnp.array([[0, 0], [0, 1], [1, 1]], bool)
    row, index = first_raised(flags)
    assert row.tolist() == [False, True] and int(index) == 1
    assert int(first_raised(flags[:1])[1]) == -1


def test_a_collapse_is_warned_of_once(capsys):
    watch = Watch(state(0))
    for _ in range(4):
        watch.row({"d_loss": 0.0}, {"a": 1.0})
    watch.row({"d_loss": 1.0}, {"a": 1.0})
    watch.images(np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), np.uint8), 200)
    watch.images(np.full((5, 4, 4, 1), 7, np.uint8), 1)  # what a new G may draw
    assert capsys.readouterr().err == ""
    for _ in range(9):
        watch.row({"d_loss": 0.0}, {"a": 0.0})
        watch.images(np.full((5, 4, 4, 1), 7, np.uint8), 200)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "σ of a" in said[0] and "same image" in said[1] and "D has won" in said[2]


@pytest.mark.parametrize(("first", "words"), [
    (True, "; the last good state is the checkpoint of iteration 4 in /there; lower"),
    (False, "bad; lower")])
def test_only_the_first_process_knows_the_last_good_state(first, words, monkeypatch):
    monkeypatch.setattr("sngan_jax.run.distributed.is_first", lambda: first)
    checkpoints = SimpleNamespace(wait=lambda: None, all=lambda: [2, 4], folder="/there")
    assert words in str(_diverged(Diverged("bad"), checkpoints, 0))
