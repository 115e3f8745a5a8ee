"""Linen layers whose weight is divided by a norm of it: the same layer, with W/σ(W) for W.

A reparametrisation is a function of the weight, so a layer that has one is a subclass that
intercepts Linen's `param` and nothing else: strides, padding, masks, dtypes stay Linen's own.

The vectors of the power iteration live in the collection 'spectral', in the layer's own scope.
The collection's mutability is the only switch:

    variables = model.init(key, x)      # 'params' is exactly the plain layer's
    y, new = model.apply(variables, x, mutable=['spectral'])    # training: a power step
    y = model.apply(variables, x)       # evaluation: the stored vectors, no iteration

docs/layers.md has the options, when to use which, and a comparison with other libraries.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from flax import linen as nn

from sngan_jax.collection import sigmas, singular_values, update_spectral
from sngan_jax.divisors import DIVISORS, STATELESS
from sngan_jax.reparametrization import (
    LINEAR,
    WEIGHTS,
    Options,
    layer_specs,
    remembered_call,
    reparametrize,
)

__all__ = [
    "SNConv",
    "SNConvLocal",
    "SNConvTranspose",
    "SNDense",
    "SNDenseGeneral",
    "SNEinsum",
    "SNEmbed",
    "SNMultiHeadAttention",
    "SNMultiHeadDotProductAttention",
    "layer_specs",
    "normalized",
    "sigmas",
    "singular_values",
    "update_spectral",
]

L = TypeVar("L", bound=nn.Module)
Layer = Callable[..., nn.Module]  # a layer class, or what stands in for one

OPTIONS: dict[str, Any] = {
    "divisor": "spectral",
    "n_steps": 1,
    "warmup_steps": 15,
    "lipschitz": 1.0,
    "learnable_scale": False,
    "cap": False,
}


def normalized(layer_class: type[L], *, weights: Mapping[str, str] | None = None, **options: Any
               ) -> type[L]:
    """A subclass of a Linen layer class whose weight W is replaced by K·W/σ(W).

    Everything of the layer class is kept. The new class takes these keyword arguments besides, and
    those given here are its defaults:

      divisor: what σ is.
        'spectral': the largest singular value of the (outputs, rest) matrix (paper, section 2.1).
        'operator': the norm of the convolution itself, for the size of input that the layer was
          initialised with (Farnia, Zhang, Tse, ICLR 2019); for layers that are no convolution, the
          same as 'spectral'.
        'bidirectional': the mean over the (outputs, rest) and the (inputs, rest) matrix (Lin,
          Sekar, Fanti, NeurIPS 2021); their scale is `lipschitz`.
        'weight': each row's own length (weight normalisation: Salimans, Kingma, NeurIPS 2016).
        'frobenius': the Frobenius norm (paper, Appendix E).
        'svd': that of 'spectral' by an SVD in every forward pass, to compare with; slow, no state.
      n_steps: power steps of a forward pass that updates; 1 in the paper (Appendix A).
      warmup_steps: power steps at init; 15, and 0 for the paper's.
      lipschitz: K; 1 in the paper.
      learnable_scale: W̄ = γ·W/σ with the parameter 'gamma', a scalar that starts at σ (paper,
        Appendix E); for divisor='weight' one for each row.
      cap: divide only where σ > K (Gouk, Frank, Pfahringer, Cree, 2018).

    Args:
      layer_class: `nn.Dense`, `nn.Conv`, …; a layer of your own with a parameter 'kernel' or
        'embedding'; or a module that contains such layers, such as
        `nn.MultiHeadDotProductAttention`: all of them are then normalised, by the same options.
      weights: for a layer of your own, {name of a parameter: its layout}, see
        `spectral.matricize`; by default 'kernel' and 'embedding', whose last axis is the output.
      **options: as above.

    Returns:
      the class, called SN… (WN… for 'weight', FN… for 'frobenius'); equal arguments give the same
      class.

    Raises:
      TypeError: for an unknown option.
      ValueError: for an option out of its range, here and in the class' constructor.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise TypeError(
            f"normalized() has no option {unknown[0]!r}: the options are {', '.join(OPTIONS)}"
        )
    layouts = None if weights is None else tuple(sorted(weights.items()))
    plain: Any = layer_class
    if hasattr(plain, "normalized_from"):
        plain, old_layouts, old_options = plain.normalized_from
        layouts = layouts or old_layouts
        options = {**dict(old_options), **options}
    return _normalized(plain, layouts, tuple(sorted(options.items())))


@functools.cache
def _normalized(layer_class: Any, layouts: tuple[tuple[str, str], ...] | None,
                given: tuple[tuple[str, Any], ...]) -> Any:
    defaults = {**OPTIONS, **dict(given)}
    known = dict(layouts) if layouts else dict.fromkeys(WEIGHTS)
    taken = sorted(set(OPTIONS) & set(getattr(layer_class, "__dataclass_fields__", ())))
    if taken:
        raise ValueError(
            f"{layer_class.__name__} has a field {taken[0]!r} of its own, which is an option of "
            "normalized(): rename that field"
        )

    class Normalized(layer_class, kw_only=True):  # type: ignore[call-arg]  # Linen's keyword
        divisor: str = defaults["divisor"]
        n_steps: int = defaults["n_steps"]
        warmup_steps: int = defaults["warmup_steps"]
        lipschitz: float = defaults["lipschitz"]
        learnable_scale: bool = defaults["learnable_scale"]
        cap: bool = defaults["cap"]

        def __post_init__(self) -> None:
            _check_options(self, type(self).__name__)
            super().__post_init__()

        @nn.nowrap
        def param(self, name: str, init_fn: Callable[..., Any], *init_args: Any,
                  unbox: bool = True, **init_kwargs: Any) -> Any:
            # An embedding is only declared here: see `_Table`.
            if name not in known or (name == "embedding" and issubclass(layer_class, nn.Embed)):
                return super().param(name, init_fn, *init_args, unbox=unbox, **init_kwargs)
            boxed = super().param(name, init_fn, *init_args, unbox=False, **init_kwargs)
            bar = reparametrize(self, self, name, boxed, known[name])
            return nn.meta.unbox(bar) if unbox else bar

    _check_options(Normalized, "normalized()")
    prefix = {"weight": "WN", "frobenius": "FN"}.get(defaults["divisor"], "SN")
    Normalized.__name__ = Normalized.__qualname__ = prefix + layer_class.__name__
    Normalized.__doc__ = (
        f"`{layer_class.__name__}` with K·W/σ(W) for its weight W; see `layers.normalized`."
    )
    Normalized.normalized_from = layer_class, layouts, given
    Normalized.__call__ = _calling(layer_class)
    if issubclass(layer_class, nn.Embed):
        Normalized.embedding = _Table()
    return Normalized


class _Table:
    """`nn.Embed` declares its table in setup(), which runs once; each use takes it from here.

    So two calls of one shared layer take two power steps, as they do for layers without setup().
    """

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        layer._try_setup()
        return reparametrize(layer, layer, "embedding", layer.__dict__["_table"])

    def __set__(self, layer: Any, table: Any) -> None:
        layer.__dict__["_table"] = table


def _calling(layer_class: Any) -> Callable[..., Any]:
    plain_call = layer_class.__call__

    # `wraps` also copies Flax's mark of a method that it manages already: the plain method is, so
    # interceptors and captured intermediates see a single call.
    @functools.wraps(plain_call)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        if issubclass(layer_class, LINEAR):
            with remembered_call(self, args, kwargs):
                return plain_call(self, *args, **kwargs)
        with nn.intercept_methods(functools.partial(_normalize_parts, self)):
            return plain_call(self, *args, **kwargs)

    return __call__


def _normalize_parts(options: Options, call_next: Callable[..., Any], args: tuple[Any, ...],
                     kwargs: dict[str, Any], context: nn.module.InterceptorContext) -> Any:
    """Interceptor: gives the Linen layers inside a module the `param` of a normalised layer."""
    part = context.module
    if not isinstance(part, LINEAR) or hasattr(part, "normalized_from"):
        return call_next(*args, **kwargs)

    def param(name: str, init_fn: Callable[..., Any], *init_args: Any, unbox: bool = True,
              **init_kwargs: Any) -> Any:
        declare = functools.partial(type(part).param, part, name, init_fn, *init_args)
        if name not in WEIGHTS:
            return declare(unbox=unbox, **init_kwargs)
        bar = reparametrize(part, options, name, declare(unbox=False, **init_kwargs))
        return nn.meta.unbox(bar) if unbox else bar

    object.__setattr__(part, "param", param)
    try:
        with remembered_call(part, args, kwargs):
            return call_next(*args, **kwargs)
    finally:
        object.__delattr__(part, "param")


def _check_options(options: Any, name: str) -> None:
    if options.divisor not in DIVISORS:
        raise ValueError(
            f"{name}: divisor={options.divisor!r} is unknown: use one of "
            f"{', '.join(map(repr, DIVISORS))}"
        )
    if not (options.lipschitz > 0 and math.isfinite(options.lipschitz)):
        raise ValueError(f"{name}: lipschitz={options.lipschitz} must be a positive number")
    if options.n_steps < 1:
        raise ValueError(
            f"{name}: n_steps={options.n_steps} must be at least 1; to take no step, apply without "
            "mutable=['spectral']"
        )
    if options.warmup_steps < 0:
        raise ValueError(f"{name}: warmup_steps={options.warmup_steps} must be 0 or more")
    steps = {key: getattr(options, key) for key in ("n_steps", "warmup_steps")}
    changed = [key for key, value in steps.items() if value != OPTIONS[key]]
    if changed and options.divisor in STATELESS:
        raise ValueError(
            f"{name}: divisor={options.divisor!r} needs no power iteration, so leave out "
            f"{changed[0]}={steps[changed[0]]}"
        )
    if options.learnable_scale and (options.lipschitz != 1 or options.cap):
        raise ValueError(
            f"{name}: learnable_scale=True learns the scale that lipschitz={options.lipschitz} and "
            f"cap={options.cap} would fix: choose one"
        )


if TYPE_CHECKING:

    class _WithOptions(nn.Module, kw_only=True):
        divisor: str = "spectral"
        n_steps: int = 1
        warmup_steps: int = 15
        lipschitz: float = 1.0
        learnable_scale: bool = False
        cap: bool = False

    class SNDense(nn.Dense, _WithOptions): ...
    class SNDenseGeneral(nn.DenseGeneral, _WithOptions): ...
    class SNEinsum(nn.Einsum, _WithOptions): ...
    class SNConv(nn.Conv, _WithOptions): ...
    class SNConvLocal(nn.ConvLocal, _WithOptions): ...
    class SNConvTranspose(nn.ConvTranspose, _WithOptions): ...
    class SNEmbed(nn.Embed, _WithOptions): ...
    class SNMultiHeadDotProductAttention(nn.MultiHeadDotProductAttention, _WithOptions): ...
    class SNMultiHeadAttention(nn.MultiHeadAttention, _WithOptions): ...
else:
    SNDense = normalized(nn.Dense)
    SNDenseGeneral = normalized(nn.DenseGeneral)
    SNEinsum = normalized(nn.Einsum)
    SNConv = normalized(nn.Conv)
    SNConvLocal = normalized(nn.ConvLocal)
    SNConvTranspose = normalized(nn.ConvTranspose)
    SNEmbed = normalized(nn.Embed)
    # The projections of query, key, value and output. Attention itself has no Lipschitz constant
    # (Kim, Papamakarios, Mnih, "The Lipschitz Constant of Self-Attention", ICML 2021).
    SNMultiHeadDotProductAttention = normalized(nn.MultiHeadDotProductAttention)
    SNMultiHeadAttention = normalized(nn.MultiHeadAttention)

# So that modules built of them can be pickled.
for _name in __all__:
    if _name.startswith("SN"):
        globals()[_name].__module__ = __name__
