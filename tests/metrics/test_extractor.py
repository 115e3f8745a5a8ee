"""Batches of any length give the same features as all images at once."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from sngan_jax.base.errors import UserError
from sngan_jax.metrics import extractor
from sngan_jax.metrics.extractor import _regrouped, collect
from tests.metrics.fake_extractor import mean_extractor


def _images(n, side=4):
    return np.random.default_rng(n).integers(0, 256, (n, side, side, 3), np.uint8)


@pytest.mark.parametrize("lengths", [(7,), (3, 3), (1, 5, 0, 2), (2,)])
def test_the_last_batch_counts_and_padding_does_not(lengths):
    images = _images(sum(lengths))
    parts = np.split(images, np.cumsum(lengths)[:-1])
    collected = collect(mean_extractor(), parts, keep=True)
    expected = images.mean((1, 2))
    np.testing.assert_allclose(collected.features, expected, rtol=1e-5)
    np.testing.assert_allclose(collected.logits, 2 * expected, rtol=1e-5)
    np.testing.assert_allclose(collected.moments.mean, expected.mean(0), rtol=1e-5)
    assert collected.moments.n == len(images)
    assert collect(mean_extractor(), parts).features is None


def test_without_a_terminal_a_line_now_and_then_tells_how_far_it_is(monkeypatch, capsys):
    collect(mean_extractor(), [_images(3)], total=3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(extractor, "SAY_EVERY", 0)
    collect(mean_extractor(), [_images(3)], total=3, name="samples")
    assert capsys.readouterr().err.splitlines()[-1] == "samples: 3 of 3 images"


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 5))
def test_regrouping_keeps_order_and_number(lengths, size):
    images = np.arange(sum(lengths), dtype=np.uint8).reshape(-1, 1, 1, 1)
    groups = list(_regrouped(np.split(images, np.cumsum(lengths)[:-1]), size))
    assert all(len(g) == size for g in groups[:-1])
    assert all(0 < len(g) <= size for g in groups)
    np.testing.assert_array_equal(np.concatenate([*groups, images[:0]]), images)


@pytest.mark.parametrize(("batches", "message"), [
    ([_images(3), _images(3, side=5)], "several sizes"),
    ([_images(3).astype(np.float32)], "float32"), ([_images(1)], "1 images"), ([], "0 images")])
def test_bad_images(batches, message):
    with pytest.raises(UserError, match=message):
        collect(mean_extractor(), batches)


def test_features_that_are_not_finite():
    with pytest.raises(UserError, match="not all finite"):
        collect(mean_extractor(np.nan), [_images(4)], name="samples")
