"""A network's vectors as a few arrays: which matrices share them, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sngan_jax import init_spectral, normalize, sigmas
from sngan_jax.divisors import Spec
from sngan_jax.network import pack, unpack
from tests.test_network import close, top, warm

KEY = jax.random.key(0)
PARAMS = {name: jax.random.normal(jax.random.key(n), (4 + n // 2, 3))
          for n, name in enumerate("abc")}
FOUND = {(name,): Spec("io") for name in PARAMS}


def test_matrices_share_arrays_unless_they_differ_much():
    """Many small blocks beside a long row, and another dtype: padding them alike would cost."""
    rng = np.random.default_rng(4)
    found = {("small",): Spec("boi"), ("long",): Spec("io"), ("wide",): Spec("io")}
    with jax.enable_x64(True):
        params = {"small": jnp.asarray(rng.standard_normal((1000, 5, 3)), jnp.float32),
                  "long": jnp.asarray(rng.standard_normal((4000, 1)), jnp.float32),
                  "wide": jnp.asarray(rng.standard_normal((6, 9)), jnp.float64)}
        state = init_spectral(params, warm(found, 200), KEY)
        for names, arrays in (("small", 1), ("small long", 2), ("small wide", 2), ("wide long", 2),
                              ("small long wide", 3)):
            some = {(name,): found[(name,)] for name in names.split()}
            held = {name: params[name] for name in names.split()}
            packed = pack(held, state, some)
            assert len(packed.u) == len(packed.v) == arrays
            close(unpack(held, packed, some), state if len(some) == 3 else {
                name: state[name] for name in state if name in held}, rtol=0)
        bar, new = normalize(params, state, found, steps=1)
    for name, w in params.items():
        close(bar[name], np.asarray(w) / top(w).max(), rtol=1e-4)
        assert bar[name].dtype == w.dtype == new[name]["u"].dtype, name


@pytest.fixture(scope="module")
def state():
    return init_spectral(PARAMS, FOUND, KEY)


def test_the_order_of_specs_does_not_matter(state):
    packed = pack(PARAMS, state, FOUND)
    backwards = dict(reversed(FOUND.items()))
    close(unpack(PARAMS, packed, backwards), state, rtol=0)
    close(normalize(PARAMS, packed, backwards)[0], normalize(PARAMS, state, FOUND)[0], rtol=0)


def test_vectors_of_other_specs_are_an_error(state):
    one = {("a",): FOUND["a",]}
    rows = {path: Spec("io", divisor="weight") for path in FOUND}
    for packed, found in ((pack(PARAMS, state, one), FOUND), (pack(PARAMS, state, FOUND), one),
                          (pack(PARAMS, state, FOUND), rows)):
        for function in (lambda p, f: unpack(PARAMS, p, f), lambda p, f: normalize(PARAMS, p, f)):
            with pytest.raises(ValueError, match="of other specs or parameters: make"):
                function(packed, found)
    with pytest.raises(ValueError, match="'a' finds no u in the collection 'spectral'"):
        sigmas({"params": PARAMS, "spectral": pack(PARAMS, state, FOUND)}, FOUND)


@pytest.mark.parametrize("steps", [-1, jnp.int32(1), None])
def test_steps_are_a_whole_number(steps, state):
    for found, held in ((FOUND, state), ({path: Spec("io", divisor="svd") for path in FOUND}, {})):
        with pytest.raises(ValueError, match="the number of power steps must be a whole number"):
            normalize(PARAMS, held, found, steps)


@pytest.mark.parametrize(("found", "words"), [
    ({("l", 0): Spec("io")}, r"specs has the path \('l', 0\): write a tuple of strings"),
    ({"a/w": Spec("io")}, "specs has the path 'a/w': write a tuple of strings"),
    ({("c", "kernel"): Spec("io")}, "'c/kernel' of params is missing"),
    ({("kernel",): Spec("io")}, r"is missing: .* or write its path as in l/kernel\Z"),
    ({("l", "kernel"): Spec("io"), ("l", "embedding"): Spec("io")},
     "'l/embedding' and another weight of the same layer would store"),
    ({("a",): Spec("iio")}, r"\(4, 3\): specs gives it the layout 'iio'; make specs from the same "
     r"model\Z"),
    ({("a",): Spec("io", learnable_scale=True)}, "needs the parameter 'a_gamma', which params"),
    ({("w",): Spec("ssio", divisor="operator")}, "divisor='operator' needs the convolution's str"),
])
def test_specs_by_hand_that_do_not_fit(found, words):
    tree = {**PARAMS, "w": jnp.ones((3, 3, 2, 4)),
            "l": {"kernel": jnp.ones((2, 3)), "embedding": jnp.ones((3, 2))}}
    with pytest.raises(ValueError, match=words):
        init_spectral(tree, found, KEY)


@pytest.mark.parametrize("state", [None, [1], {"a": 1.0}, {"a": {"u": {}}}])
def test_a_state_of_another_kind(state):
    with pytest.raises(ValueError, match="the weight 'a' finds no u in the collection"):
        normalize(PARAMS, state, {("a",): Spec("io")})


def test_weights_without_vectors_may_share_a_place():
    tree = {"l": {"kernel": jnp.ones((2, 3)), "embedding": jnp.ones((3, 2))}}
    found = {path: Spec("io", divisor="frobenius") for path in (("l", "kernel"),
                                                                ("l", "embedding"))}
    assert normalize(tree, {}, found)[0]["l"]["kernel"][0, 0] == pytest.approx(6**-0.5)


def test_axes_of_a_stack_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"stack=\(0, 0\), state_stack=\(0,\) and gamma"):
        Spec("io", stack=(0, 0), state_stack=(0,))


def test_a_stack_by_hand_needs_no_axes_for_its_vectors():
    w = np.random.default_rng(1).standard_normal((2, 4, 3)).astype(np.float32)
    found = {("a",): Spec("io", warmup_steps=300, stack=(0,))}
    bar, _ = normalize({"a": w}, init_spectral({"a": w}, found, KEY), found)
    close(bar["a"], w / top(w)[:, None, None], rtol=1e-4, atol=1e-6)
