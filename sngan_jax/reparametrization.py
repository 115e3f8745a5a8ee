"""One weight of one Linen layer: its layout, its state in the collection 'spectral', and W̄.

`layers.py` makes layer classes out of this. W̄ is that of the paper's equation 8, or what another
norm makes of W (`divisors.py`).
"""

import contextlib
import contextvars
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import opt_einsum
from flax import linen as nn
from flax.core import meta
from flax.linen.recurrent import DenseParams
from jax import lax

from sngan_jax import spectral
from sngan_jax.divisors import DIVISORS, Weight
from sngan_jax.operators import Shape

COLLECTION = "spectral"
# What Linen's own layers call their weights.
WEIGHTS = ("kernel", "embedding")
CONVOLUTIONS = (nn.Conv, nn.ConvLocal, nn.ConvTranspose)
LINEAR = (nn.Dense, nn.DenseGeneral, nn.Einsum, nn.Embed, DenseParams, *CONVOLUTIONS)

# Positional and keyword arguments of a layer's call.
Call = tuple[tuple[Any, ...], dict[str, Any]]


class Options(Protocol):
    """The arguments of `layers.normalized`."""

    divisor: str
    n_steps: int
    warmup_steps: int
    lipschitz: float
    learnable_scale: bool
    cap: bool


def reparametrize(layer: nn.Module, options: Options, name: str, boxed: Any,
                  layout: str | None = None) -> Any:
    """W̄ for the weight that `layer` declares as `name`, after a power step if one is due.

    Args:
      layer: the bound Linen module that owns the weight.
      options: object with the arguments of `layers.normalized` as attributes.
      name: the parameter's name.
      boxed: its value as stored, perhaps in a box of partitioning metadata.
      layout: see `spectral.matricize`; None: that of the layer's class.

    Returns:
      W̄, in the same box, of the same dtype.

    Raises:
      ValueError: for a weight that is no matrix, and without the collection 'spectral' at apply.
    """
    raw = meta.unbox(boxed)
    where = f"{type(layer).__name__} at '{'/'.join(layer.path)}'"
    if raw.ndim < 2:
        raise ValueError(
            f"{where}: the parameter '{name}' of shape {raw.shape} is no matrix: normalise only "
            "weights of two or more axes, and name them in normalized(…, weights={name: layout})"
        )
    call = getattr(layer, "_call", None)
    spec = Spec(
        options.divisor,
        layout or layout_of(layer, raw, call),
        getattr(layer, "mask", None),
        geometry_of(layer, call) if options.divisor == "operator" else None,
    )
    if (recorder := _recorder.get()) is not None:
        recorder[(*layer.path, name)] = spec
    wide = raw.astype(spectral.iteration_dtype(raw.dtype))
    weight = spec.weight(wide)
    divisor = _measured(layer, options, name, weight, spec, where)
    bar = spectral.divide(wide, divisor, options.lipschitz, options.cap)
    if options.learnable_scale:
        bar = bar * _gamma(layer, options, name, raw.dtype, weight, divisor, where)
    return meta.replace_boxed(boxed, bar.astype(raw.dtype))


class Spec(NamedTuple):
    """What the variables alone do not tell about a normalised weight; the mask is of its shape."""

    divisor: str
    layout: str
    mask: jax.typing.ArrayLike | None
    geometry: tuple[nn.Module, Shape] | None

    def weight(self, wide: jax.Array) -> Weight:
        """The `Weight` of a float32 or float64 array of the parameter's shape."""
        operator = None
        if self.geometry is not None:
            plain, input_shape = self.geometry
            apply: Callable[..., Any] = plain.apply
            operator = (
                lambda kernel: functools.partial(apply, {"params": {"kernel": kernel}}),
                input_shape,
            )
        return Weight(wide if self.mask is None else wide * self.mask, self.layout, operator)


_recorder: contextvars.ContextVar[dict[tuple[str, ...], Spec] | None] = contextvars.ContextVar(
    "recorder", default=None)


def layer_specs(module: nn.Module, variables: Mapping[str, Any], *args: Any, **kwargs: Any
                ) -> dict[tuple[str, ...], Spec]:
    """The `Spec` of every normalised weight of a model, by tracing its forward pass once.

    Args:
      module: an unbound Linen module.
      variables: what its `init` returned.
      *args, **kwargs: those of `module.apply`; arrays, or `jax.ShapeDtypeStruct`s.

    Returns:
      dictionary from the parameter's path (tuple of strings) to its `Spec`.
    """
    specs: dict[tuple[str, ...], Spec] = {}
    token = _recorder.set(specs)
    try:
        jax.eval_shape(
            lambda variables, *args: module.apply(
                variables, *args, **{"mutable": COLLECTION, **kwargs}
            ),
            variables,
            *args,
        )
    finally:
        _recorder.reset(token)
    return specs


def _measured(layer: nn.Module, options: Options, name: str, weight: Weight, spec: Spec,
              where: str) -> jax.Array:
    divisor = DIVISORS[options.divisor]
    shapes = divisor.shapes(weight)
    if not shapes:
        return divisor.measure(weight, {}, 0)[0]
    store = _Store(layer, name)
    mutable = layer.is_mutable_collection(COLLECTION)
    state = {key: vector for key in shapes if (vector := store.get(key)) is not None}
    if len(state) < len(shapes):
        if not layer.is_initializing():
            missing = ", ".join(key for key in shapes if key not in state)
            raise ValueError(
                f"{where} finds no {missing} in the collection 'spectral': pass apply all the "
                "variables that init returned, {'params': …, 'spectral': …}"
            )
        # Not the 'params' stream: the parameters must be those of the plain layer.
        rng = layer.make_rng(COLLECTION) if layer.has_rng(COLLECTION) else jax.random.key(0)
        state = divisor.start(weight, rng, options.warmup_steps)
        if mutable:
            store.put({**state, **{marker: np.zeros((), np.float32) for marker in _markers(spec)}})
        return divisor.measure(weight, state, 0)[0]
    for key, shape in shapes.items():
        if state[key].shape != tuple(shape):
            raise ValueError(
                f"{where}: '{key}' in the collection 'spectral' has the shape {state[key].shape} "
                f"and the layer now needs {tuple(shape)}: an operator norm belongs to one size of "
                "input, so apply the model to the size of init, or init again"
            )
    if layer.is_initializing() or not mutable:
        return divisor.measure(weight, state, 0)[0]
    sigma, state = divisor.measure(weight, state, options.n_steps)
    store.put(state)
    return sigma


class _Store:
    """A weight's entries in 'spectral': in the layer's scope, or under a weight's own name."""

    def __init__(self, layer: nn.Module, name: str):
        self._layer, self._name = layer, name

    def get(self, key: str) -> jax.Array | None:
        if self._name in WEIGHTS:
            return self._layer.get_variable(COLLECTION, key)
        return (self._layer.get_variable(COLLECTION, self._name) or {}).get(key)

    def put(self, entries: Mapping[str, jax.typing.ArrayLike]) -> None:
        if self._name in WEIGHTS:
            for key, value in entries.items():
                self._layer.put_variable(COLLECTION, key, value)
        else:
            old: Mapping[str, Any] = self._layer.get_variable(COLLECTION, self._name) or {}
            self._layer.put_variable(COLLECTION, self._name, {**old, **entries})


def _markers(spec: Spec) -> Iterator[str]:
    """Names of entries that say what the shapes of u and v do not.

    The functions over a whole model see only the variables. The name of an entry is static under
    every transformation, its value would not be.
    """
    if not re.fullmatch("s*io" if spec.geometry else "b*[si]*o+", spec.layout):
        yield "layout_" + spec.layout
    if spec.mask is not None:
        yield "masked"


def _gamma(layer: nn.Module, options: Options, name: str, dtype: np.dtype, weight: Weight,
           divisor: jax.Array, where: str) -> jax.Array:
    key = "gamma" if name in WEIGHTS else name + "_gamma"
    if not layer.has_variable("params", key):
        if not layer.is_initializing():
            raise ValueError(
                f"{where} finds no '{key}' in 'params': learnable_scale=True adds it, so init the "
                "model with the options that it is applied with"
            )
        # The paper's Appendix E and its code start γ at σ(W) itself, so that W̄ = W.
        start = DIVISORS[options.divisor].exact(weight)
        # Not by `param`, which would draw from the stream of the parameters that follow.
        layer.put_variable("params", key, start.reshape(-1 if start.ndim else ()).astype(dtype))
    gamma = meta.unbox(layer.get_variable("params", key)).astype(weight.value.dtype)
    return gamma.reshape(divisor.shape)


def layout_of(layer: nn.Module, weight: jax.Array, call: Call | None) -> str:
    """The layout of a Linen layer's weight (…, outputs); for other classes, the last axis is them.

    Raises:
      ValueError: an Einsum that takes a diagonal or a sum of its kernel, which has no one matrix.
    """
    window = weight.ndim - 2
    if isinstance(layer, nn.ConvTranspose) and layer.transpose_kernel:
        return "s" * window + "oi"
    if isinstance(layer, nn.Conv | nn.ConvTranspose):
        return "s" * window + "io"
    if isinstance(layer, nn.ConvLocal):
        return "b" * window + "io"
    if isinstance(layer, nn.DenseGeneral):
        blocks, outputs = (
            1 if isinstance(axes, int) else len(axes) for axes in (layer.batch_dims, layer.features)
        )
        return "b" * blocks + "i" * (weight.ndim - blocks - outputs) + "o" * outputs
    if isinstance(layer, nn.Einsum):
        return _einsum_layout(layer, weight, call)
    return "i" * (weight.ndim - 1) + "o"


def _einsum_layout(layer: nn.Einsum, weight: jax.Array, call: Call | None) -> str:
    assert call is not None  # these layers declare their weight in the call
    args, kwargs = call
    inputs = args[0] if args else kwargs["inputs"]
    equation = args[1] if len(args) > 1 else kwargs.get("einsum_str")
    equation = (equation or layer.einsum_str or "").replace(" ", "")
    operands, result, _ = opt_einsum.parser.parse_einsum_input((equation, inputs, weight))
    left, right = operands.split(",")
    kinds = {(True, True): "b", (False, True): "o", (True, False): "i"}
    if len(set(right)) < len(right) or set(right) - set(left) - set(result):
        raise ValueError(
            f"the equation {equation!r} takes a diagonal or a sum of the kernel itself, so that it "
            "has no one matrix: use each of the kernel's letters once, in the input or the output"
        )
    return "".join(kinds[letter in left, letter in result] for letter in right)


def geometry_of(layer: nn.Module, call: Call | None) -> tuple[nn.Module, Shape] | None:
    """(the plain layer without bias and in full precision, the shape of one input image).

    None for a layer that is no convolution.

    Raises:
      ValueError: a layer that is none of Linen's.
    """
    for plain_class in CONVOLUTIONS:
        if isinstance(layer, plain_class):
            break
    else:
        if isinstance(layer, LINEAR):
            return None
        raise ValueError(
            f"divisor='operator' knows the input of Conv, ConvLocal, ConvTranspose and the matrix "
            f"layers only, not that of {type(layer).__name__}: use divisor='spectral'"
        )
    assert call is not None  # these layers declare their weight in the call
    args, kwargs = call
    inputs = args[0] if args else kwargs["inputs"]
    fields = {
        f.name: getattr(layer, f.name)
        for f in dataclasses.fields(plain_class)
        if f.name not in ("parent", "name")
    }
    # The compute dtype, and replacements of the product itself, are not part of the linear map; the
    # mask is in the weight already.
    changed = {
        "mask": None,
        "use_bias": False, "dtype": None, "precision": lax.Precision.HIGHEST,
        "kernel_init": nn.initializers.zeros, "preferred_element_type": None,
        "conv_general_dilated": None, "conv_general_dilated_cls": None,
    }
    plain = plain_class(**{k: changed.get(k, v) for k, v in fields.items()}, parent=None)
    n_spatial = 1 if isinstance(layer.kernel_size, int) else len(layer.kernel_size)
    return plain, inputs.shape[-n_spatial - 1 :]


@contextlib.contextmanager
def remembered_call(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
                    ) -> Iterator[None]:
    """Lets `reparametrize` see the arguments of the layer's call while it lasts."""
    object.__setattr__(layer, "_call", (args, kwargs))
    try:
        yield
    finally:
        object.__delattr__(layer, "_call")
