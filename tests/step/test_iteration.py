"""The training step against the paper's loop written out with plain jax, one device, no pmap.

Two programs that are compared after an update both compute in float64, because Adam makes a full
step even of a gradient that is only float32's rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sngan_jax.activation_norms import BatchNorm, ConditionalBatchNorm
from sngan_jax.base.compilation import compiler_options
from sngan_jax.data.pipeline import batch_indices, dequantize, example_keys
from sngan_jax.layers import SNConv, SNDense, SNEmbed
from sngan_jax.losses import LOSSES
from sngan_jax.models.resnet import ResNetDiscriminator, ResNetGenerator
from sngan_jax.regularizers import CONSTRAINTS, REGULARIZERS, weights
from sngan_jax.step.batches import Batch, real_batch
from sngan_jax.step.devices import AXIS, positions, replicate, spread
from sngan_jax.step.iteration import discriminator_loss, train_iteration
from sngan_jax.step.latents import sample_latents
from sngan_jax.step.program import make_train_step
from sngan_jax.step.recipe import Inputs, Recipe, linear_decay, now
from sngan_jax.step.repeat import loop_of_one, repeat
from sngan_jax.step.setup import normalized_weights
from sngan_jax.step.state import create_state
from tests.step.small_networks import SmallDiscriminator, SmallGenerator, in_float64

BATCH, G_BATCH, N_DIS, LATENT, CLASSES = 4, 6, 2, 5, 3


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def _recipe(conditional, conditioning="projection", axis=AXIS, **changes):
    """The paper's residual networks with labels; without labels, networks that compile faster."""
    classes = CLASSES if conditional else 0
    plain = functools.partial(BatchNorm, axis_name=axis)
    norm = functools.partial(ConditionalBatchNorm, classes, axis_name=axis) if classes else plain
    if conditional:
        g = ResNetGenerator(4, 1, (4, 4), classes, norm=norm, last_norm=plain)
        d = ResNetDiscriminator((4, 4), 1, classes, conditioning=conditioning, conv=SNConv,
                                dense=SNDense, embed=SNEmbed)
    else:
        g, d = SmallGenerator(plain), SmallDiscriminator(SNConv, SNDense)
    return Recipe(g, d, LOSSES["hinge"], BATCH, G_BATCH, N_DIS, LATENT, (4, 4, 1),
                  lambda it: 1.0, conditional=conditional)._replace(**changes)


@functools.cache
def _created(conditional, conditioning, ema_decay, x64):
    """The initial state; the rest of a recipe does not change it."""
    recipe = _recipe(conditional, conditioning, ema_decay=ema_decay)
    state = jax.jit(lambda key: create_state(key, recipe))(jax.random.key(0))
    return jax.tree.map(np.array, state)


def _setup(conditional, conditioning="projection", axis=AXIS, **changes):
    """A recipe, its initial state and a small set of images."""
    recipe = _recipe(conditional, conditioning, axis, **changes)
    state = jax.tree.map(jnp.array, _created(
        conditional, conditioning, recipe.ema_decay, jax.config.jax_enable_x64))
    if jax.config.jax_enable_x64:
        state = in_float64(state)
    dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
    rng = np.random.default_rng(0)
    inputs = Inputs(rng.integers(0, 256, (10, 4, 4, 1), np.uint8), rng.integers(0, 3, 10, np.int32),
                    jax.random.key(7), *map(dtype, (1e-2, 0.5, 0.9)))
    return recipe, state, inputs


def _close(a, b, atol=1e-9):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8, atol=atol), a, b)


def _placed(state, inputs):
    devices = jax.local_devices()[:1]
    state, inputs = replicate((state, inputs), devices)
    return state, inputs._replace(position=positions(devices)), devices


def _run(recipe, state, inputs, iterations):
    state, inputs, devices = _placed(state, inputs)
    step = make_train_step(recipe, devices)
    metrics = []
    for _ in range(iterations):
        state, m = step(state, inputs)
        metrics.append({k: float(v) for k, v in m.items() if k != "health"})
    return state, metrics


def _reference_iteration(s, state, opts, data, it):
    """The paper's loop: G, then n_dis updates of D, on dicts of collections with optax's Adam."""
    adam_ = optax.adam(1e-2, b1=0.5, b2=0.9)
    state, opts = dict(state), dict(opts)
    g, d, loss = s.generator, s.discriminator, s.loss
    data_key, noise = jax.random.split(data.key)
    noise = jax.random.fold_in(noise, it)

    def fakes(key, n):
        z_key, y_key = jax.random.split(key)
        z = jnp.stack([jax.random.normal(k, (LATENT,)) for k in example_keys(z_key, 0, n)])
        y = jnp.stack([jax.random.randint(k, (), 0, CLASSES)
                       for k in example_keys(y_key, 0, n)])
        return z, y if s.conditional else None

    def call_g(params, stats, z, y):
        x, new = g.apply({"params": params, "batch_stats": stats}, z, y, mutable=["batch_stats"])
        return x, new["batch_stats"]

    def call_d(params, spectral, x, y):
        out, new = d.apply({"params": params, "spectral": spectral}, x, y, mutable=["spectral"])
        return out, new["spectral"]

    z, y = fakes(jax.random.fold_in(noise, 0), G_BATCH)

    def g_loss(params):
        x, stats = call_g(params, state["g_stats"], z, y)
        out, spectral = call_d(state["d"], state["spectral"], x, y)
        return loss.generator(out), (stats, spectral)

    (value, (state["g_stats"], state["spectral"])), grads = jax.value_and_grad(
        g_loss, has_aux=True)(state["g"])
    updates, opts["g"] = adam_.update(grads, opts["g"])
    state["g"] = optax.apply_updates(state["g"], updates)

    for i in range(N_DIS):
        real_key, fake_key = jax.random.split(jax.random.fold_in(noise, i + 1))
        rows = batch_indices(data_key, it * N_DIS + i, batch_size=BATCH, n=len(data.images))
        real = dequantize(jnp.asarray(data.images)[rows], example_keys(real_key, 0, BATCH))
        real_y = jnp.asarray(data.labels)[rows] if s.conditional else None
        z, y = fakes(fake_key, BATCH)
        x, state["g_stats"] = call_g(state["g"], state["g_stats"], z, y)

        def d_loss(params, x=x, y=y, real=real, real_y=real_y):
            a, spectral = call_d(params, state["spectral"], real, real_y)
            b, spectral = call_d(params, spectral, x, y)
            return loss.discriminator(a, b), spectral

        (d_value, state["spectral"]), grads = jax.value_and_grad(d_loss, has_aux=True)(state["d"])
        updates, opts["d"] = adam_.update(grads, opts["d"])
        state["d"] = optax.apply_updates(state["d"], updates)
    return state, opts, value, d_value


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("conditional", "loss", "per_call"), [
    (False, "hinge", 2), pytest.param(True, "non_saturating", 1, marks=pytest.mark.slow)])
def test_step_is_the_papers_loop(conditional, loss, per_call):
    """Two iterations, in two calls or in one."""
    recipe, state, inputs = _setup(conditional, loss=LOSSES[loss], iterations_per_call=per_call)
    reference = {"g": state.generator.params, "g_stats": state.generator.batch_stats,
                 "d": state.discriminator.params, "spectral": state.discriminator.spectral}
    reference = jax.tree.map(jnp.copy, reference)
    adam_ = optax.adam(1e-2, b1=0.5, b2=0.9)
    opts = {"g": adam_.init(reference["g"]), "d": adam_.init(reference["d"])}
    state, metrics = _run(recipe, state, inputs, 2 // per_call)
    alone = _recipe(conditional, axis=None, loss=LOSSES[loss])
    iteration = jax.jit(lambda state, opts, it: _reference_iteration(
        alone, state, opts, inputs, it))
    for it in range(2):
        reference, opts, g_loss, d_loss = iteration(reference, opts, it)
        if (it + 1) % per_call == 0:  # a call has the metrics of its last iteration
            found = metrics[(it + 1) // per_call - 1]
            assert found["g_loss"] == pytest.approx(float(g_loss), rel=1e-8)
            assert found["d_loss"] == pytest.approx(float(d_loss), rel=1e-8)
    _close({"g": state.generator.params, "g_stats": state.generator.batch_stats,
            "d": state.discriminator.params, "spectral": state.discriminator.spectral}, reference)


def test_step_compiles_once_and_donates():
    recipe, state, inputs = _setup(False, ema_decay=0.5)
    state, inputs, devices = _placed(state, inputs)
    step = make_train_step(recipe, devices)
    old, compiled = state, []
    compiler_options()  # tried once a process

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        counts = []
        for _ in range(3):
            state, _ = step(state, inputs)
            counts.append(len(compiled))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert counts == [1, 1, 1]
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old.discriminator.params))
    assert int(state.iteration) == 3


def test_moving_average_of_the_generator():
    recipe, state, inputs = _setup(False, ema_decay=0.5)
    first = jax.tree.map(np.array, state.generator)
    state, _ = _run(recipe, state, inputs, 1)
    weight = 1 / 10  # (1 + 0) / (10 + 0): a short memory at first
    for average, old, new in ((state.generator.ema_params, first.params, state.generator.params),
                              (state.generator.ema_batch_stats, first.batch_stats,
                               state.generator.batch_stats)):
        jax.tree.map(lambda a, o, n: np.testing.assert_allclose(
            a, weight * o + (1 - weight) * np.asarray(n), rtol=1e-4, atol=1e-6), average, old, new)


@pytest.mark.parametrize(("start", "iteration", "expected"), [
    (1.0, 99, 2.0), (0.0, 0, 2.0), (0.0, 50, 1.0), (0.0, 100, 0.0), (0.5, 50, 2.0), (0.5, 75, 1.0)])
def test_linear_decay(start, iteration, expected):
    assert float(2 * linear_decay(100, start)(jnp.int32(iteration))) == pytest.approx(expected)


class _Options:
    gp_coefficient = 10.0
    clip = 0.01


def test_weights_are_clipped_after_every_update_and_biases_are_not():
    recipe, state, inputs = _setup(False, constraint=CONSTRAINTS["clip"](_Options))
    state, _ = _run(recipe, state, inputs, 2)
    params = state.discriminator.params
    assert max(float(jnp.abs(w).max()) for w in weights(params)) <= 0.01 + 1e-9
    assert float(jnp.abs(params["conv1"]["bias"]).max()) > 0.01


def test_a_regularizer_is_added_and_takes_no_power_step():
    recipe, state, inputs = _setup(False, n_dis=1)
    state = jax.tree.map(np.array, state)
    plain, m = _run(recipe, state, inputs, 1)
    with_gp, n = _run(recipe._replace(regularizer=REGULARIZERS["gradient_penalty"](_Options)),
                      state, inputs, 1)
    assert "penalty" not in m[0] and n[0]["penalty"] > 0
    assert m[0]["d_loss"] == pytest.approx(n[0]["d_loss"], rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
                 plain.discriminator.spectral, with_gp.discriminator.spectral)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(
        jax.tree.leaves(plain.discriminator.params), jax.tree.leaves(with_gp.discriminator.params),
        strict=True))


@pytest.mark.slow
def test_power_steps_of_each_mode():
    """u equals that after 1 + 2·n_dis steps ('call'), n_dis ('update') or 1 ('iteration')."""
    d_steps = {}
    for mode in ("call", "update", "iteration"):
        recipe, state, inputs = _setup(
            False, sigma_updates=mode, decay=lambda it: 0.0)  # W stands still
        # A vector far from the singular ones, so that every step moves it.
        u = state.discriminator.spectral["conv1"]["u"]
        state.discriminator.spectral["conv1"]["u"] = jnp.ones_like(u)
        first = jax.tree.map(np.array, state.discriminator.variables)
        state, _ = _run(recipe, state, inputs, 1)
        kernel = np.asarray(first["params"]["conv1"]["kernel"]).reshape(-1, 4)
        u = np.asarray(first["spectral"]["conv1"]["u"]).ravel()
        after = np.asarray(state.discriminator.spectral["conv1"]["u"]).ravel()
        distances = []
        for _ in range(2 + 2 * N_DIS):
            distances.append(np.abs(u - after).max())
            u = kernel.T @ (kernel @ u)
            u = u / np.linalg.norm(u)
        d_steps[mode] = int(np.argmin(distances))
    assert d_steps == {"call": 1 + 2 * N_DIS, "update": N_DIS, "iteration": 1}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("conditional", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_together_is_apart_for_a_discriminator_without_batch_statistics(conditional):
    losses = []
    for together in (False, True):
        losses.append(_run(*_setup(
            conditional, "auxiliary", together=together, sigma_updates="iteration"), 2)[1])
    for a, b in zip(*losses, strict=True):
        assert a == pytest.approx(b, rel=1e-8, abs=1e-9)


def test_an_auxiliary_classifier_is_trained_on_the_real_classes_alone():
    recipe, state, _ = _setup(True, "auxiliary", axis=None, class_weights=(0.7, 0.1))
    d, keys = state.discriminator, jax.random.split(jax.random.key(1), 2 * BATCH)
    x = np.asarray(jax.random.normal(keys[0], (2, BATCH, 4, 4, 1)))
    real, fake = (Batch(x[i], np.arange(BATCH, dtype=np.int32) % CLASSES) for i in (0, 1))
    total, (metrics, _) = jax.jit(functools.partial(discriminator_loss, recipe=recipe))(
        d.params, d.collections, real, fake, keys[BATCH:])
    (_, classes), _ = jax.jit(functools.partial(recipe.discriminator.apply, mutable=["spectral"]))(
        d.variables, *real)
    expected = optax.softmax_cross_entropy_with_integer_labels(classes, real.labels).mean()
    np.testing.assert_allclose(metrics["d_class"], expected, rtol=1e-4)
    np.testing.assert_allclose(total, metrics["d_loss"] + 0.7 * expected, rtol=1e-4)


@pytest.mark.slow
def test_an_auxiliary_classifier_learns_the_real_classes():
    recipe, state, inputs = _setup(True, "auxiliary")
    inputs = inputs._replace(
        images=inputs.images // 8 + (inputs.labels * 80).astype(np.uint8)[:, None, None, None])
    _, metrics = _run(recipe, state, inputs, 40)
    assert metrics[-1]["d_class"] < 0.6 * metrics[0]["d_class"]
    assert np.isfinite(metrics[-1]["g_class"])


@pytest.mark.usefixtures("float64")
def test_streamed_batches_train_like_the_set_in_memory():
    results = []
    for stream in (False, True):
        recipe, state, inputs = _setup(False, stream=stream)
        data, key = inputs, jax.random.split(inputs.key)[0]
        state, inputs, devices = _placed(state, inputs)
        step = make_train_step(recipe, devices)
        for it in range(2):
            if stream:
                rows = np.stack([batch_indices(key, it * N_DIS + i, batch_size=BATCH, n=10)
                                 for i in range(N_DIS)])
                inputs = inputs._replace(images=spread(data.images[rows][None, None], devices),
                                         labels=spread(data.labels[rows][None, None], devices))
            state, metrics = step(state, inputs)
        results.append({k: float(v) for k, v in metrics.items() if k != "health"})
    assert results[0] == pytest.approx(results[1], rel=1e-8, abs=1e-9)


def test_flips_mirror_about_half_of_the_real_images():
    recipe, _, inputs = _setup(False)
    images = np.random.default_rng(1).integers(0, 256, (80, 4, 4, 1), np.uint8)

    def batch(flip):
        drawn = jax.jit(lambda key, inputs: real_batch(
            0, key, now(0, inputs, recipe), inputs._replace(images=images),
            recipe._replace(flip=flip, batch_size=64, dequantize=False)).images)
        return np.asarray(drawn(jax.random.key(3), inputs))

    plain, flipped = batch(False), batch(True)
    mirrored = [(a == b[:, ::-1]).all() for a, b in zip(plain, flipped, strict=True)]
    same = [(a == b).all() for a, b in zip(plain, flipped, strict=True)]
    assert all(np.logical_xor(mirrored, same)) and 16 < sum(mirrored) < 48


def test_latents():
    keys = example_keys(jax.random.key(0), 0, 500)
    uniform, normal = (np.asarray(sample_latents(keys, 8, name)) for name in ("uniform", "normal"))
    assert uniform.min() < -0.99 and 0.99 < uniform.max() <= 1
    assert uniform.std() == pytest.approx(3**-0.5, rel=0.03)
    assert normal.std() == pytest.approx(1, rel=0.03)


def test_a_loop_of_one_is_its_body():
    def body(carry, i):
        return {"x": carry["x"] * 2 + i}, {"sum": carry["x"].sum(), "flag": carry["x"] > 1}

    carry = {"x": jnp.array([1.0, 3.0])}
    looped = jax.jit(functools.partial(loop_of_one, body))(carry, jnp.int32(5))
    jax.tree.map(np.testing.assert_array_equal, looped, repeat(body, carry, 1, "gpu"))
    # XLA did not see through it: the loop is still there.
    text = jax.jit(functools.partial(loop_of_one, body)).lower(carry, jnp.int32(5)).compile()
    assert " while(" in text.as_text()


def test_an_iteration_outside_pmap_is_the_one_of_a_device():
    """Called as a plain function, on networks that are not tied to an axis."""
    recipe, state, inputs = _setup(False)
    expected, metrics = _run(recipe, jax.tree.map(np.array, state), inputs, 1)
    alone = _recipe(False, axis=None)
    state, m = jax.jit(lambda state, inputs: train_iteration(state, inputs, alone))(state, inputs)
    for name in ("g_loss", "d_loss", "g_gradient", "d_gradient"):
        assert float(m[name]) == pytest.approx(metrics[0][name], rel=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
                 state.discriminator.spectral, expected.discriminator.spectral)


@pytest.mark.parametrize("changes", [{"together": True}, {"sigma_updates": "update"}])
def test_weights_normalized_before_a_pass_are_those_of_the_layers(float64, changes):
    """W̄ of all of D's layers is computed at once, as on a GPU, and the layers return it."""
    recipe, state, inputs = _setup(False, axis=None, n_dis=1, **changes)
    weights = normalized_weights(recipe)
    assert len(weights) == 3
    (a, m), (b, n) = (jax.jit(functools.partial(train_iteration, recipe=recipe._replace(
        specs=specs)))(state, inputs) for specs in (None, weights))
    _close(a, b, atol=1e-8)
    _close(m["d_loss"], n["d_loss"])
