"""Linen layers whose weight W is divided by its largest singular value: the same layer with W̄.

Such a layer is a subclass that intercepts Linen's `param`, so that strides, padding, masks and
dtypes stay Linen's own. The vectors of the power iteration live in the collection 'spectral', in
the layer's own scope. The collection's mutability is the only switch:

    variables = model.init(key, x)      # 'params' is exactly the plain layer's
    y, new = model.apply(variables, x, mutable=['spectral'])    # training: a power step
    y = model.apply(variables, x)       # evaluation: the stored vectors, no iteration

`network.py` does the same for a whole network at once, whoever wrote it. docs/layers.md lists the
options, says when to use which, and compares other libraries.
"""

import copyreg
import dataclasses
import difflib
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import jax
from flax import linen as nn
from flax.core import meta

from sngan_jax.divisors import STATELESS, Spec
from sngan_jax.linen import WEIGHTS
from sngan_jax.reparametrization import reparametrized, where

OPTIONS = ("divisor", "n_steps", "warmup_steps", "lipschitz", "learnable_scale")

L = TypeVar("L", bound=nn.Module)
Layer = Callable[..., nn.Module]  # a layer class, or a callable used like one


class _Picklable(type):
    """Metaclass that lets classes made by `normalized` be pickled: no module holds their names."""


def reduced(made: Any) -> Any:
    """What pickle writes for a class: the call that makes it, or its name."""
    return vars(made).get("made_from", made.__qualname__)


copyreg.pickle(_Picklable, reduced)


class Normalized(nn.Module, kw_only=True, metaclass=_Picklable):
    """Mixin of every normalized layer: its options, and W̄ in place of W.

    divisor: name of what W is divided by.
      'spectral': the largest singular value of the (outputs, rest) matrix (paper, section 2.1).
      'operator': the norm of the convolution itself, for the input size at initialization
        (Farnia, Zhang, Tse, ICLR 2019); other layers are treated as with 'spectral'.
      'bidirectional': the mean over the (outputs, rest) and the (inputs, rest) matrix (Lin,
        Sekar, Fanti, NeurIPS 2021); `lipschitz` is their scale.
      'weight': each row's own length (weight normalization: Salimans, Kingma, NeurIPS 2016).
      'frobenius': the Frobenius norm (paper, Appendix E).
      'svd': the exact value of 'spectral', by an SVD in every forward pass; slow, without state,
        for comparison.
    n_steps: power steps in a forward pass that updates the vectors; 1 in the paper (Appendix A).
    warmup_steps: power steps at init; with 0 one is still taken, so that σ is never negative. With
      a learnt scale there are at least 100.
    lipschitz: K; 1 in the paper.
    learnable_scale: W̄ = γ·W/σ with the parameter 'gamma', a scalar that starts at σ, so that
      W̄ = W (paper, Appendix E); one per row for divisor='weight'.
    """

    divisor: str = "spectral"
    n_steps: int = 1
    warmup_steps: int = 15
    lipschitz: float = 1.0
    learnable_scale: bool = False

    plain_class: ClassVar[Any]  # the layer class
    sn_weights: ClassVar[Mapping[str, str | None]] = dict.fromkeys(WEIGHTS)
    sn_defaults: ClassVar[Mapping[str, Any]] = {}  # options whose names are fields of the layer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if Normalized in cls.__bases__:
            cls.plain_class = cls.__bases__[0]
        attention = issubclass(cls, nn.MultiHeadDotProductAttention)
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            public = name == "__call__" or not (name.startswith("_") or hasattr(Normalized, name))
            if public and name not in vars(cls) and not hasattr(method, "watched"):
                setattr(cls, name, _projecting(method) if attention else _watched(name, method))
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _naming_unknown(cls.__init__)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        self.sn_options()
        super().__post_init__()

    @nn.nowrap
    def sn_options(self) -> Spec:
        """The options as a `Spec`; ValueError if one is out of range."""
        fields = self.plain_class.__dataclass_fields__
        return Spec(**{name: self.sn_defaults.get(name, getattr(Spec, name)) if name in fields
                       else getattr(self, name) for name in OPTIONS})

    @nn.nowrap  # not a method that Flax shows to interceptors
    def param(self, name: str, init_fn: Callable[..., Any], *init_args: Any, unbox: bool = True,
              **init_kwargs: Any) -> Any:
        """Linen's `param`, with W̄ for a weight; ValueError if the weight is not a matrix."""
        value = super().param(name, init_fn, *init_args, unbox=False, **init_kwargs)
        # `nn.Embed` declares its table in setup(), which runs once; `_Table` normalizes each use.
        if name in self.sn_weights and not isinstance(self, nn.Embed):
            value = reparametrized(self, name, value)
        return meta.unbox(value) if unbox else value


def normalized(layer_class: type[L], *, weights: Mapping[str, str] | None = None, **options: Any
               ) -> type[L]:
    """A subclass of a Linen layer class whose weight W is replaced by W̄ = K·W/σ(W).

    Everything else about the layer class stays. The new class also takes the options of
    `Normalized`. Where the layer class has a field with an option's name, the field keeps it, and
    the option can only be given here.

    Args:
      layer_class: `nn.Dense`, `nn.Conv`, …; Linen's attention, whose projections are normalized; or
        one of your own layers with a parameter 'kernel' or 'embedding'. A module of several layers
        is refused when it is called: use `network.normalize` for it.
      weights: for your own layer, {name of a parameter: its layout}, see `spectral`; the default is
        'kernel' and 'embedding', with the output as the last axis.
      **options: defaults of the new class.

    Returns:
      the class, named SN… (WN… for 'weight', FN… for 'frobenius'); equal arguments return the same
      class.

    Raises:
      TypeError: for an unknown option, for weights that are not a dictionary, and for an argument
        that is not a layer class.
      ValueError: for an option out of range, here and in the constructor of the class.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, nn.Module)):
        found = (f"{layer_class.__name__} of {layer_class.__module__}"
                 if isinstance(layer_class, type) else
                 f"an object of type {type(layer_class).__name__}")
        raise TypeError(f"normalized() takes a layer class of Linen such as nn.Dense, not {found}: "
                        "pass the class, and its arguments to the class that comes back; for the "
                        "classes of NNX use sngan_jax.nnx.normalized")
    made: Any = _made
    return made(layer_class, checked_layouts(weights), checked_options(options, OPTIONS))


def checked_layouts(weights: Any) -> tuple[tuple[str, str], ...] | None:
    """The option weights of `normalized`; TypeError if it is not a dictionary of strings."""
    if weights is None:
        return None
    if not isinstance(weights, Mapping) or not weights or not all(
            isinstance(word, str) for item in weights.items() for word in item):
        raise TypeError(f"weights={weights!r} is not a dictionary of layouts: give {{name of a "
                        "parameter: its layout}, such as {'kernel': 'io'}")
    return tuple(sorted(weights.items()))


def checked_options(options: Mapping[str, Any], known: tuple[str, ...]
                    ) -> tuple[tuple[str, Any], ...]:
    """The options of `normalized`, sorted and hashable; TypeError for one that it does not have."""
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"normalized() has no option {unknown[0]!r}"
                        f"{_near(unknown[0], known)} options are {', '.join(known)}")
    return tuple(sorted((name, x.item() if getattr(x, "ndim", None) == 0 else tuple(x)
                         if isinstance(x, list) else x) for name, x in options.items()))


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f", did you mean {near[0]}? The" if near else ": the"


def _naming_unknown(init: Callable[..., None]) -> Callable[..., None]:
    """The constructor; its TypeError for an unknown argument names the options."""
    parameters = inspect.signature(init).parameters
    free = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    @functools.wraps(init)
    def call(self: Any, *args: object, **kwargs: object) -> None:
        if unknown := [name for name in kwargs if name not in parameters and not free]:
            raise TypeError(
                f"{type(self).__name__} has no argument {unknown[0]!r}"
                f"{_near(unknown[0], parameters)} arguments are those of "
                f"{self.plain_class.__name__} and the options {', '.join(OPTIONS)}; a power step "
                "is taken if apply has mutable=['spectral']")
        init(self, *args, **kwargs)

    return call


@functools.cache
def _made(layer_class: Any, layouts: tuple[tuple[str, str], ...] | None,
          given: tuple[tuple[str, Any], ...]) -> Any:
    options = dict(given)
    bases = layer_class,
    if not issubclass(layer_class, Normalized):
        family = [made for made in FAMILY if issubclass(layer_class, made.plain_class)]
        exact = [made for made in family if made.plain_class is layer_class]
        bases = tuple(exact) or (layer_class, *(family[:1] or [Normalized]))
    if len(bases) == 1 and not options and layouts is None:
        return bases[0]
    plain = getattr(bases[0], "plain_class", layer_class)
    fields = {k: v for k, v in options.items() if k not in plain.__dataclass_fields__}
    body = {
        "__annotations__": dict.fromkeys(fields, Any), **fields,
        "plain_class": plain, "__module__": __name__,
        "made_from": (_made, (layer_class, layouts, given)),
        "sn_defaults": {**getattr(bases[0], "sn_defaults", {}), **options},
        **({} if layouts is None else {"sn_weights": dict(layouts)}),
    }
    divisor = options.get("divisor", getattr(bases[0], "divisor", "spectral"))
    name = {"weight": "WN", "frobenius": "FN"}.get(divisor, "SN") + plain.__name__
    Spec(**{**body["sn_defaults"], "divisor": divisor})
    return types.new_class(name, bases, {"kw_only": True}, lambda space: space.update(body))


def _watched(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which records its call for `layout_of` and checks that a weight was found."""
    # `wraps` also copies Flax's mark for methods that it already manages. The plain method is
    # managed, so interceptors and captured intermediates see a single call.
    @functools.wraps(method)
    def call(self: Any, *args: object, **kwargs: object) -> Any:
        outer = vars(self).get("_call")
        if outer is None or name == "__call__":
            vars(self)["_call"] = args, kwargs
        try:
            result = method(self, *args, **kwargs)
        finally:
            vars(self)["_call"] = outer
        if outer is None and self.scope is not None:
            _check_weights(self)
        return result

    call.watched = True  # type: ignore[attr-defined]
    return call


def _check_weights(layer: Any) -> None:
    params = meta.unbox(layer.variables.get("params", {}))
    if set(WEIGHTS) <= set(params) & set(layer.sn_weights) and (
            layer.learnable_scale or layer.sn_options().divisor not in STATELESS):
        raise ValueError(f"{where(layer)} has a parameter 'kernel' and a parameter 'embedding', "
                         "whose vectors would have the same names: give one of them another name, "
                         "or name only one in normalized(…, weights={name: layout})")
    named = [name for name, layout in layer.sn_weights.items() if layout or name in params]
    silent = layer.is_initializing() and not vars(layer).get("_seen")
    if not params or (named and set(named) <= set(params) and not silent):
        return
    names = ["/".join(str(key.key) for key in path)
             for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    raise ValueError(
        f"{where(layer)} declares no parameter {' or '.join(map(repr, layer.sn_weights))} by "
        f"self.param, but {', '.join(names)}: name its weights in normalized(…, weights={{name: "
        "layout}); for a module of several layers use sngan_jax.specs and sngan_jax.normalize"
    )


def _projecting(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of Linen's attention, which makes its `DenseGeneral` layers itself.

    Their calls are intercepted, and a normalized twin in the same scope answers them.
    """
    @functools.wraps(method)
    def call(self: Any, *args: object, **kwargs: object) -> Any:
        def intercept(call_next: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
                      context: nn.module.InterceptorContext) -> Any:
            part: Any = context.module
            if type(part) is not nn.DenseGeneral or context.method_name != "__call__":
                return call_next(*args, **kwargs)
            fields = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
            options = {name: getattr(self, name) for name in OPTIONS}
            twin = SNDenseGeneral(**{**fields, **options, "name": None, "parent": part.scope})
            return twin(*args, **kwargs)

        with nn.intercept_methods(intercept):
            return method(self, *args, **kwargs)

    call.watched = True  # type: ignore[attr-defined]
    return call


class _Table:
    """The table of `nn.Embed`, normalized at each use: two calls take two power steps."""

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        layer._try_setup()
        if "_table" not in vars(layer):
            raise AttributeError(f"read {type(layer).__name__}.embedding inside init or apply")
        return meta.unbox(reparametrized(layer, "embedding", vars(layer)["_table"]))

    def __set__(self, layer: Any, table: Any) -> None:
        vars(layer)["_table"] = table


class SNDense(nn.Dense, Normalized):
    """`nn.Dense` with W̄ for its weight. Options: `sngan_jax.layers.Normalized`."""
class SNDenseGeneral(nn.DenseGeneral, Normalized):
    """`nn.DenseGeneral` with W̄ for its weight. Options: `sngan_jax.layers.Normalized`."""
class SNEinsum(nn.Einsum, Normalized):
    """`nn.Einsum` with W̄ for its weight. Options: `sngan_jax.layers.Normalized`."""
class SNConv(nn.Conv, Normalized):
    """`nn.Conv` with W̄ for its weight. Options: `sngan_jax.layers.Normalized`."""
class SNConvLocal(nn.ConvLocal, Normalized):
    """`nn.ConvLocal` with W̄ for its weight. Options: `sngan_jax.layers.Normalized`."""
class SNConvTranspose(nn.ConvTranspose, Normalized):
    """`nn.ConvTranspose` with W̄ for its weight. Options: `sngan_jax.layers.Normalized`."""
class SNEmbed(nn.Embed, Normalized):
    """`nn.Embed` with W̄ for its table. Options: `sngan_jax.layers.Normalized`."""
    embedding = _Table()
# The projections of query, key, value and output. Attention itself has no Lipschitz constant
# (Kim, Papamakarios, Mnih, "The Lipschitz Constant of Self-Attention", ICML 2021).
class SNMultiHeadAttention(nn.MultiHeadAttention, Normalized):
    """`nn.MultiHeadAttention` with W̄ for its weights. Options: `sngan_jax.layers.Normalized`."""
class SNMultiHeadDotProductAttention(nn.MultiHeadDotProductAttention, Normalized):
    """`nn.MultiHeadDotProductAttention` with W̄. Options: `sngan_jax.layers.Normalized`."""


FAMILY: tuple[Any, ...] = (
    SNDense, SNDenseGeneral, SNEinsum, SNConv, SNConvLocal, SNConvTranspose, SNEmbed,
    SNMultiHeadAttention, SNMultiHeadDotProductAttention)
