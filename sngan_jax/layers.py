"""Linen layers whose weight W is divided by its largest singular value: the same layer with W̄.

Such a layer is a subclass that intercepts Linen's `param`, so that strides, padding, masks and
dtypes stay Linen's own. The vectors of the power iteration live in the collection 'spectral', in
the layer's own scope. The collection's mutability is the only switch:

    variables = model.init(key, x)      # 'params' is exactly the plain layer's
    y, new = model.apply(variables, x, mutable=['spectral'])    # training: a power step
    y = model.apply(variables, x)       # evaluation: the stored vectors, no iteration

`network.py` does the same to a whole network at once, whoever wrote it. docs/layers.md has the
options, when to use which, and a comparison with other libraries.
"""

import copyreg
import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import jax
from flax import linen as nn
from flax.core import meta

from sngan_jax import divisors, spectral
from sngan_jax.divisors import DIVISORS, STATELESS, Spec
from sngan_jax.linen import LINEAR, WEIGHTS, Call, convolution_of, geometry_of, layout_of

COLLECTION = "spectral"
NORMALIZED = "normalized"  # read-only: W̄ itself, computed outside of the forward pass

L = TypeVar("L", bound=nn.Module)
Layer = Callable[..., nn.Module]  # a layer class, or what stands in for one


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a normalised layer; see `normalized`."""

    divisor: str = "spectral"
    n_steps: int = 1
    warmup_steps: int = 15
    lipschitz: float = 1.0
    learnable_scale: bool = False

    def __post_init__(self) -> None:
        if not (self.lipschitz > 0 and math.isfinite(self.lipschitz)):
            raise ValueError(f"lipschitz={self.lipschitz} must be a positive number")
        if self.n_steps < 1:
            raise ValueError(
                f"n_steps={self.n_steps} must be at least 1; to take no step, apply without "
                "mutable=['spectral']"
            )
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps={self.warmup_steps} must be 0 or more")
        if self.learnable_scale and self.lipschitz != 1:
            raise ValueError(
                "learnable_scale=True learns the scale that "
                f"lipschitz={self.lipschitz} would fix: choose one"
            )
        Spec("", self.divisor)  # refuses an unknown divisor
        changed = [name for name, default in (("n_steps", 1), ("warmup_steps", 15))
                   if getattr(self, name) != default]
        if changed and self.divisor in STATELESS:
            raise ValueError(
                f"divisor={self.divisor!r} needs no power iteration, so leave out "
                f"{changed[0]}={getattr(self, changed[0])}"
            )


OPTIONS = tuple(field.name for field in dataclasses.fields(Options))


def normalized(layer_class: type[L], *, weights: Mapping[str, str] | None = None, **options: Any
               ) -> type[L]:
    """A subclass of a Linen layer class whose weight W is replaced by W̄ = K·W/σ(W).

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
      warmup_steps: power steps at init; 0 still takes one, whose σ is never negative.
      lipschitz: K; 1 in the paper.
      learnable_scale: W̄ = γ·W/σ with the parameter 'gamma', a scalar that starts at σ, so that
        W̄ = W (paper, Appendix E); for divisor='weight' one for each row.

    A field of the layer class with one of these names stays the layer's; that option is then given
    here only.

    Args:
      layer_class: `nn.Dense`, `nn.Conv`, …; Linen's attention, whose projections are normalised; or
        a layer of your own with a parameter 'kernel' or 'embedding'. A module of several layers is
        refused at its first call: `network.normalize` serves it.
      weights: for a layer of your own, {name of a parameter: its layout}, see `spectral`; by
        default 'kernel' and 'embedding', whose last axis is the output.
      **options: as above.

    Returns:
      the class, called SN… (WN… for 'weight', FN… for 'frobenius'); equal arguments give the same
      class.

    Raises:
      TypeError: for an unknown option, and for what is no layer class.
      ValueError: for an option out of its range, here and in the class' constructor.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, nn.Module)):
        raise TypeError(f"normalized() takes a layer class such as nn.Dense, not an object of type "
                        f"{type(layer_class).__name__}: pass the class, and its arguments to the "
                        "class that comes back")
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise TypeError(
            f"normalized() has no option {unknown[0]!r}: the options are {', '.join(OPTIONS)}"
        )
    layouts = None if weights is None else tuple(sorted(weights.items()))
    if "normalized_from" in vars(layer_class):
        plain, old_layouts, old_options = layer_class.normalized_from
        return _normalized(plain, layouts or old_layouts,
                           tuple(sorted({**dict(old_options), **options}.items())))
    if is_normalized(layer_class):
        raise TypeError(f"{layer_class.__name__} is a subclass of a normalised layer already: give "
                        "the options to its constructor, or normalise its plain base")
    return _normalized(layer_class, layouts, tuple(sorted(options.items())))


def is_normalized(layer_class: type) -> bool:
    """Whether `normalized` made the class or a base of it."""
    return hasattr(layer_class, "normalized_from")


class _Picklable(type):
    """The type of the classes that `normalized` makes, which stand under no name in a module."""


copyreg.pickle(_Picklable, lambda made: (
    (_normalized, made.normalized_from) if "normalized_from" in vars(made)
    and getattr(inspect.getmodule(made), made.__name__, None) is not made else made.__qualname__))


@functools.cache
def _normalized(layer_class: Any, layouts: tuple[tuple[str, str], ...] | None,
                given: tuple[tuple[str, Any], ...]) -> Any:
    defaults = Options(**dict(given))
    weights = dict(layouts) if layouts else dict.fromkeys(WEIGHTS)
    ours = [name for name in OPTIONS if name not in layer_class.__dataclass_fields__]

    def normalized_options(self: Any) -> Options:
        return dataclasses.replace(defaults, **{name: getattr(self, name) for name in ours})

    def __post_init__(self: Any) -> None:
        self.normalized_options()
        layer_class.__post_init__(self)

    def param(self: Any, name: str, init_fn: Callable[..., Any], *init_args: Any,
              unbox: bool = True, **init_kwargs: Any) -> Any:
        value = layer_class.param(self, name, init_fn, *init_args, unbox=False, **init_kwargs)
        # `nn.Embed` declares its table in setup(), which runs once; each use normalises: `_Table`.
        if name in weights and not issubclass(layer_class, nn.Embed):
            value = reparametrize(self, name, value)
        return meta.unbox(value) if unbox else value

    attention = issubclass(layer_class, nn.MultiHeadDotProductAttention)
    body = {
        "__annotations__": dict.fromkeys(ours, Any), "__module__": __name__,
        **{name: getattr(defaults, name) for name in ours},
        "normalized_from": (layer_class, layouts, given), "normalized_weights": weights,
        "normalized_options": nn.nowrap(normalized_options), "__post_init__": __post_init__,
        "param": nn.nowrap(param),
        **{name: _projecting(method) if attention else _watched(name, method)
           for name, method in inspect.getmembers(layer_class, inspect.isfunction)
           if name == "__call__" or not (name.startswith("_") or hasattr(nn.Module, name))},
        **({"embedding": _Table()} if issubclass(layer_class, nn.Embed) else {}),
        "__doc__": f"`{layer_class.__name__}` with W̄ = K·W/σ(W) for its weight W; see "
                   "`layers.normalized`.",
    }
    prefix = {"weight": "WN", "frobenius": "FN"}.get(defaults.divisor, "SN")
    kind = _Picklable if type(layer_class) is type else type(layer_class)
    return types.new_class(prefix + layer_class.__name__, (layer_class,),
                           {"kw_only": True, "metaclass": kind}, lambda space: space.update(body))


def _watched(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; it keeps the call for `layout_of`, and then asks whether a weight was found."""
    # `wraps` also copies Flax's mark of a method that it manages already: the plain method is, so
    # interceptors and captured intermediates see a single call.
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer = vars(self).get("_call")
        if outer is None or name == "__call__":
            object.__setattr__(self, "_call", (args, kwargs))
        try:
            result = method(self, *args, **kwargs)
        finally:
            object.__setattr__(self, "_call", outer)
        if outer is None and self.scope is not None:
            _check_weights(self)
        return result

    return call


def _check_weights(layer: Any) -> None:
    params = layer.variables.get("params", {})
    found = [name for name in layer.normalized_weights if name in params]
    expected = [name for name, layout in layer.normalized_weights.items()
                if layout is not None or not found]
    missing = [name for name in expected if name not in params]
    if not params or not missing and (vars(layer).get("_seen") or not layer.is_initializing()):
        return
    names = ["/".join(str(key.key) for key in path)
             for path, _ in jax.tree_util.tree_leaves_with_path(meta.unbox(params))]
    raise ValueError(
        f"{_where(layer)} declares no parameter {' or '.join(map(repr, missing or found))} by "
        f"self.param, but {', '.join(names)}: name its weights in normalized(…, weights={{name: "
        "layout}); for a module of several layers use sngan_jax.specs and sngan_jax.normalize"
    )


def _projecting(method: Callable[..., Any]) -> Callable[..., Any]:
    """The call of Linen's attention with normalised projections.

    It makes its `DenseGeneral` layers itself, so their calls are intercepted, and a normalised twin
    in the same scope answers.
    """
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        options = dataclasses.asdict(self.normalized_options())

        def intercept(call_next: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
                      context: nn.module.InterceptorContext) -> Any:
            part = context.module
            if type(part) is not nn.DenseGeneral or context.method_name != "__call__":
                return call_next(*args, **kwargs)
            fields = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)
                      if f.name not in ("parent", "name")}
            return SNDenseGeneral(**fields, **options, parent=part.scope)(*args, **kwargs)

        with nn.intercept_methods(intercept):
            return method(self, *args, **kwargs)

    return call


class _Table:
    """The table of `nn.Embed`, normalised at each use: two calls of a layer take two power steps."""

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        layer._try_setup()
        return meta.unbox(reparametrize(layer, "embedding", vars(layer)["_table"]))

    def __set__(self, layer: Any, table: Any) -> None:
        vars(layer)["_table"] = table


def reparametrize(layer: Any, name: str, boxed: Any) -> Any:
    """W̄ for the weight that a normalised layer declares as `name`, after a power step if one is due.

    Args:
      layer: the bound layer.
      name: the parameter's name.
      boxed: its value as stored, perhaps in a box of partitioning metadata.

    Returns:
      W̄, in the same box, of the same dtype.

    Raises:
      ValueError: for a weight that is no matrix, and for vectors that are missing or do not fit.
    """
    vars(layer)["_seen"] = True
    if layer.has_variable(NORMALIZED, name):
        return layer.get_variable(NORMALIZED, name)
    raw, options = meta.unbox(boxed), layer.normalized_options()
    spec = spec_of(layer, name, raw, vars(layer).get("_call") or ((), {}))
    weight, divisor = divisors.widened(raw, spec), DIVISORS[spec.divisor]
    state = _stored(layer, name, divisor.shapes(weight, spec))
    if state is None:
        # Not the 'params' stream: the parameters must be those of the plain layer.
        rng = layer.make_rng(COLLECTION) if layer.has_rng(COLLECTION) else jax.random.key(0)
        state = divisors.start(weight, spec, rng, options.warmup_steps)
        _store(layer, name, state)
    steps = 0 if layer.is_initializing() else options.n_steps
    if not layer.is_mutable_collection(COLLECTION):
        steps = 0
    sigma, state = divisor.measure(weight, spec, state, steps)
    if steps:
        _store(layer, name, state)
    scale = _gamma(layer, name, sigma, raw.dtype) if spec.learnable_scale else spec.lipschitz
    bar = spectral.divide(raw.astype(weight.dtype), sigma, scale)
    return meta.replace_boxed(boxed, bar.astype(raw.dtype))


def spec_of(layer: Any, name: str, raw: jax.Array, call: Call) -> Spec:
    """The `Spec` of a bound layer's weight; for a plain layer, that of `normalized(its class)`."""
    if raw.ndim < 2:
        raise ValueError(
            f"{_where(layer)}: the parameter '{name}' of shape {raw.shape} is no matrix: normalise "
            "only weights of two or more axes, and name them in normalized(…, weights={name: "
            "layout})"
        )
    options, layouts = Options(), {}
    if is_normalized(type(layer)):
        options, layouts = layer.normalized_options(), layer.normalized_weights
    geometry = geometry_of(layer, call) if options.divisor == "operator" else None
    operator = None
    if geometry is not None:
        operator = functools.partial(convolution_of, geometry[0]), geometry[1]
    return Spec(layouts.get(name) or layout_of(layer, raw, call), options.divisor,
                options.lipschitz, options.learnable_scale, getattr(layer, "mask", None), operator)


def state_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """Where 'spectral' has the vectors of the weight at a path of 'params'."""
    return path[:-1] if path[-1] in WEIGHTS else path


def gamma_of(name: str) -> str:
    """The name of the learnt scale beside a weight."""
    return "gamma" if name in WEIGHTS else name + "_gamma"


def _where(layer: nn.Module) -> str:
    return f"{type(layer).__name__} at '{'/'.join(layer.path)}'"


def _stored(layer: nn.Module, name: str, shapes: Mapping[str, tuple[int, ...]]
            ) -> dict[str, jax.Array] | None:
    """The stored vectors; None at init, before there are any."""
    held = layer.variables.get(COLLECTION, {})
    held = meta.unbox(held if name in WEIGHTS else held.get(name, {}))
    missing = [key for key in shapes if key not in held]
    if missing and layer.is_initializing():
        return None
    if missing:
        raise ValueError(
            f"{_where(layer)} finds no {', '.join(missing)} in the collection 'spectral': pass "
            "apply all the variables that init returned, {'params': …, 'spectral': …}. nn.scan, "
            "nn.vmap and nn.RNN drop what they are not told of: give them variable_axes={'params': "
            "0, 'spectral': 0}, or variable_broadcast=['params', 'spectral'], and init again"
        )
    for key, shape in shapes.items():
        if held[key].shape != tuple(shape):
            raise ValueError(
                f"{_where(layer)}: '{key}' in the collection 'spectral' has the shape "
                f"{held[key].shape} and the layer now needs {tuple(shape)}: an operator norm "
                "belongs to one size of input, so apply the model to the size of init, or init "
                "again"
            )
    return {key: held[key] for key in shapes}


def _store(layer: nn.Module, name: str, state: Mapping[str, jax.Array]) -> None:
    if not layer.is_mutable_collection(COLLECTION):
        return
    if name in WEIGHTS:
        for key, vector in state.items():
            layer.put_variable(COLLECTION, key, vector)
    else:
        layer.put_variable(COLLECTION, name, dict(state))


def _gamma(layer: Any, name: str, sigma: jax.Array, dtype: Any) -> jax.Array:
    key = gamma_of(name)
    if not layer.has_variable("params", key):
        if not layer.is_initializing():
            raise ValueError(
                f"{_where(layer)} finds no '{key}' in 'params': learnable_scale=True adds it, so "
                "init the model with the options that it is applied with"
            )
        # Not by `param`, which would draw from the stream of the parameters that follow.
        start = jax.lax.stop_gradient(sigma)
        layer.put_variable("params", key, start.reshape(-1 if start.ndim else ()).astype(dtype))
    return meta.unbox(layer.get_variable("params", key)).astype(sigma.dtype).reshape(sigma.shape)


if TYPE_CHECKING:

    class _WithOptions(nn.Module, kw_only=True):
        divisor: str = "spectral"
        n_steps: int = 1
        warmup_steps: int = 15
        lipschitz: float = 1.0
        learnable_scale: bool = False

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
