"""flax.nnx layers whose weight W is divided by its largest singular value: the same layer with W̄.

The NNX side of `layers.py`, built on the same functions of arrays. The weights remain the plain
layer's `nnx.Param`s; u and v are `SpectralVector`s beside them. The switch is NNX's own:

    model = Critic(rngs=nnx.Rngs(0))    # its parameters are exactly those of the plain layers
    model.train()                       # each call takes a power step
    model.eval()                        # the stored vectors: no iteration, nothing is written

docs/nnx.md has a whole training step.
"""

import copyreg
import dataclasses
import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np
from flax import nnx
from flax.nnx.module import ModuleMeta
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax import layers, network, nnx_linen, spectral
from sngan_jax.divisors import Shape, Spec, checked_vectors
from sngan_jax.linen import WEIGHTS, Call
from sngan_jax.nnx_linen import SpectralVector, attribute_of, linen_variables, nnx_state
from sngan_jax.nnx_stacks import Stack, stacks_of
from sngan_jax.packing import Path
from sngan_jax.reparametrization import COLLECTION, gamma_of, scale_of, state_path

__all__ = ["Normalized", "SNConv", "SNConvTranspose", "SNEinsum", "SNEmbed", "SNLinear",
           "SNLinearGeneral", "SNMultiHeadAttention", "SpectralVector", "fold", "linen_variables",
           "nnx_state", "normalized", "power_steps", "sigmas", "singular_values"]

SWITCH = "use_running_average"  # the attribute that `train` and `eval` of a model set
OPTIONS = (*layers.OPTIONS, "input_size", SWITCH)

L = TypeVar("L", bound=nnx.Module)


class _Bar(nnx.Param[Any]):
    """W̄, in the weight's place while a method of its layer runs."""

    def set_value(self, value: Any, **kwargs: object) -> None:
        raise ValueError("a method of a normalized layer writes the layer's weight, which is W̄ "
                         "until the method returns: write the weight outside of the layer")


class _Picklable(ModuleMeta):
    """As in `layers`."""


copyreg.pickle(_Picklable, layers.reduced)


class Normalized(nnx.Module, metaclass=_Picklable):
    """Base of every normalized layer: its options, and W̄ in place of W.

    The constructor takes the arguments of the layer class and, by name, these options:

    divisor, n_steps, warmup_steps, lipschitz, learnable_scale: as in `layers.Normalized`.
    input_size: the size of an image, (height, width), for divisor='operator' of a convolution.
    use_running_average: False, the default, takes `n_steps` power steps in each call of a method;
      True takes none. `train` and `eval` set it; a call's argument of that name overrides it.

    u and v start from a fixed key, or from the stream 'spectral' of rngs, which does not advance.
    """

    plain_class: ClassVar[Any]  # the layer class
    sn_weights: ClassVar[Mapping[str, str | None]] = dict.fromkeys(WEIGHTS)
    sn_defaults: ClassVar[Mapping[str, Any]] = {}
    sn_specs: tuple[tuple[str, Spec, Shape], ...] = ()  # for each weight: name, Spec, shape

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in dir(cls):
            method = inspect.getattr_static(cls, name)
            public = name == "__call__" or not (name.startswith("_") or hasattr(Normalized, name))
            bound = hasattr(method, "__get__") and not isinstance(method, staticmethod)
            if public and bound and callable(method) and not hasattr(method, "watched"):
                setattr(cls, name, _watched(method))
        if not hasattr(cls, "plain_class") and len(cls.__bases__) == 2:
            cls.plain_class = cls.__bases__[1]
        view = getattr(vars(cls).get("plain_class"), "set_view", None)
        if view is not None:
            joined = nnx_linen.joined_views(view, Normalized.set_view)
            cls.set_view = view if issubclass(cls, _Attention) else joined  # type: ignore
        super().__init_subclass__(**kwargs)

    def __init__(self, *args: object, **kwargs: object) -> None:
        theirs = inspect.signature(self.plain_class.__init__).parameters
        own = {k: kwargs.pop(k) for k in OPTIONS if k in kwargs and k not in theirs}
        rngs = nnx_linen.rngs_of(self, args, kwargs, OPTIONS)
        super().__init__(*args, **kwargs)
        self._sn_setup({**self.sn_defaults, **own}, rngs)

    def _sn_setup(self, options: Mapping[str, Any], rngs: Any) -> None:
        """Makes the vectors of each weight and, with learnable_scale, γ.

        Raises:
          ValueError: for an option out of range, or if no weight has two axes.
        """
        spec = _spec(options)
        if not hasattr(self, SWITCH):
            self.use_running_average = frozen = options.get(SWITCH, False)
            if not isinstance(frozen, bool | np.bool_):
                raise ValueError(f"{SWITCH}={frozen!r} must be True or False")
        self.sn_input_size = nnx_linen.image_size(self, spec, options.get("input_size"))
        # A draw from a stream would change the parameters that follow.
        stream = rngs[COLLECTION] if isinstance(rngs, nnx.Rngs) and COLLECTION in rngs else None
        key = stream and jax.random.fold_in(stream.key[...], stream.count[...])
        for name, layout in nnx_linen.weights_of(self, self.sn_weights).items():
            raw, own = vars(self)[name][...], dataclasses.replace(spec, layout=layout)
            full = nnx_linen.completed(self, own)
            state = full.start(full.widened(raw), jax.random.key(0) if key is None else key)
            new: dict[str, Any] = {attribute_of(name, vector): SpectralVector(
                x, weight=name, vector=vector) for vector, x in state.items()}
            if spec.learnable_scale:
                sigma, _ = full.measure(full.widened(raw), state, 0)
                new[gamma_of(name)] = nnx.Param(
                    sigma.reshape(-1 if sigma.ndim else ()).astype(raw.dtype))
            for attribute, variable in new.items():
                if hasattr(self, attribute):
                    raise ValueError(
                        f"{type(self).__name__} already has an attribute '{attribute}', a name "
                        f"that the weight '{name}' needs: rename it")
                setattr(self, attribute, variable)
            self.sn_specs = (*self.sn_specs, (name, own, raw.shape))

    def _sn_layers(self) -> list[Any]:
        """The layers whose weights the methods use."""
        return [self]

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Sets the switch, for `nnx.view`.

        Args:
          use_running_average: True for evaluation, False for power steps in each call.
        """
        if use_running_average is not None:
            self.use_running_average = use_running_average


def normalized(layer_class: type[L], *, weights: Mapping[str, str] | None = None, **options: Any
               ) -> type[L]:
    """A subclass of an NNX layer class whose weight W is replaced by W̄ = K·W/σ(W).

    The arguments and the result are those of `layers.normalized`, for NNX's layers and the options
    of `Normalized`; so are the errors, TypeError and ValueError. A constructor argument of the
    layer class that has the name of an option stays the layer's.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, nnx.Module)):
        found = layer_class if isinstance(layer_class, type) else type(layer_class).__name__
        raise TypeError("normalized() of sngan_jax.nnx takes a class of NNX such as nnx.Linear, "
                        f"not {found}: pass the class, and its arguments to the class that comes "
                        "back; for Linen's classes use sngan_jax.normalized")
    return _made(layer_class, layers.checked_layouts(weights),
                 layers.checked_options(options, OPTIONS))


@functools.cache
def _made(layer_class: Any, layouts: tuple[tuple[str, str], ...] | None,
          given: tuple[tuple[str, Any], ...]) -> Any:
    mixin = _Attention if issubclass(layer_class, nnx.MultiHeadAttention) else Normalized
    bases = tuple(made for made in FAMILY if made.plain_class is layer_class) or (
        (layer_class,) if issubclass(layer_class, Normalized) else (mixin, layer_class))
    if len(bases) == 1 and not given and layouts is None:
        return bases[0]
    body = {"plain_class": getattr(bases[0], "plain_class", layer_class), "__module__": __name__,
            "made_from": (_made, (layer_class, layouts, given)),
            "sn_defaults": {**bases[0].sn_defaults, **dict(given)},
            **({} if layouts is None else {"sn_weights": dict(layouts)})}
    prefix = {"weight": "WN", "frobenius": "FN"}.get(_spec(body["sn_defaults"]).divisor, "SN")
    return types.new_class(prefix + body["plain_class"].__name__, bases, {},
                           lambda space: space.update(body))


def _watched(method: Any) -> Callable[..., Any]:
    """The method, run with W̄ in place of the weights."""
    takes_switch = SWITCH in inspect.signature(method).parameters

    @functools.wraps(method)
    def call(self: Any, *args: Any, use_running_average: bool | None = None, **kwargs: Any) -> Any:
        if takes_switch and use_running_average is not None:
            kwargs[SWITCH] = use_running_average
        kept = []
        try:
            for layer in self._sn_layers():
                for name, spec, shape in layer.sn_specs:
                    weight = vars(layer)[name]
                    if not isinstance(weight, _Bar):  # otherwise within the call of another method
                        bar = _bar(layer, name, spec, shape, use_running_average, (args, kwargs))
                        kept.append((layer, name, weight))
                        vars(layer)[name] = bar
            return method.__get__(self, type(self))(*args, **kwargs)
        finally:
            for layer, name, weight in kept:
                vars(layer)[name] = weight

    call.watched = True  # type: ignore[attr-defined]
    return call


def _bar(layer: Any, name: str, spec: Spec, shape: Shape, frozen: bool | None, call: Call) -> Any:
    """W̄ of a weight, after a power step unless the call, or else the layer, is at evaluation."""
    variable, kind = vars(layer)[name], type(layer).__name__
    raw = variable[...]
    if raw.shape != shape:
        raise ValueError(f"{kind} was made with '{name}' of shape {shape} and is called with "
                         f"{raw.shape}: call a stack of layers under nnx.vmap or nnx.scan")
    spec = nnx_linen.completed(layer, spec, call)
    weight = spec.widened(raw)
    shapes = spec.shapes(weight)
    vectors = {vector: vars(layer).get(attribute_of(name, vector)) for vector in shapes}
    state = checked_vectors({k: x[...] for k, x in vectors.items() if x is not None}, shapes, kind,
                            "give the model its SpectralVectors, or make it anew")
    steps = 0 if (layer.use_running_average if frozen is None else frozen) else spec.n_steps
    sigma, new = spec.measure(weight, state, steps)
    for vector in new if steps else ():
        vectors[vector].set_value(new[vector])
    scale: Any = spec.lipschitz
    if spec.learnable_scale:
        scale = scale_of(getattr(layer, gamma_of(name))[...].astype(sigma.dtype), sigma,
                                f"{kind}: '{gamma_of(name)}'")
    bar = spectral.divide(weight, sigma, scale).astype(raw.dtype)
    return _Bar.from_metadata(bar, variable.get_metadata())


def _spec(options: Mapping[str, Any]) -> Spec:
    return Spec(**{name: options[name] for name in layers.OPTIONS if name in options})


class _Attention(Normalized):
    """Base of a normalized attention: its projections of query, key, value and output."""

    def _sn_setup(self, options: Mapping[str, Any], rngs: Any) -> None:
        for part in self._sn_layers():
            if type(part) is not nnx.LinearGeneral or self.sn_weights is not Normalized.sn_weights:
                raise ValueError(f"{type(self).__name__} normalizes the kernels of its projections,"
                                 " four nnx.LinearGeneral: leave out weights= and other classes")
            object.__setattr__(part, "__class__", SNLinearGeneral)
            part._sn_setup(options, rngs)  # type: ignore[attr-defined]

    def _sn_layers(self) -> list[Any]:
        return [self.query, self.key, self.value, self.out]  # type: ignore[attr-defined]


class SNLinear(Normalized, nnx.Linear):
    """`nnx.Linear` with W̄ for its weight. Options: `sngan_jax.nnx.Normalized`."""
class SNLinearGeneral(Normalized, nnx.LinearGeneral):
    """`nnx.LinearGeneral` with W̄ for its weight. Options: `sngan_jax.nnx.Normalized`."""
class SNEinsum(Normalized, nnx.Einsum):
    """`nnx.Einsum` with W̄ for its weight. Options: `sngan_jax.nnx.Normalized`."""
class SNConv(Normalized, nnx.Conv):
    """`nnx.Conv` with W̄ for its weight. Options: `sngan_jax.nnx.Normalized`."""
class SNConvTranspose(Normalized, nnx.ConvTranspose):
    """`nnx.ConvTranspose` with W̄ for its weight. Options: `sngan_jax.nnx.Normalized`."""
class SNEmbed(Normalized, nnx.Embed):
    """`nnx.Embed` with W̄ for its table. Options: `sngan_jax.nnx.Normalized`."""
class SNMultiHeadAttention(_Attention, nnx.MultiHeadAttention):  # type: ignore[misc]
    """`nnx.MultiHeadAttention` with W̄ for its weights. Options: `sngan_jax.nnx.Normalized`."""


FAMILY: tuple[Any, ...] = (SNLinear, SNLinearGeneral, SNEinsum, SNConv, SNConvTranspose, SNEmbed,
                           SNMultiHeadAttention)


def sigmas(model: Any) -> dict[str, jax.Array]:
    """{'path/of/layer': σ} of a model's stored weights, as in `network.sigmas`.

    Raises ValueError for a model without normalized layers. Like the functions below, it also
    raises it for a stack whose axes the shapes do not determine; inside `nnx.vmap` there is none.
    """
    return network.sigmas(*_network(model)[:2])


def singular_values(model: Any) -> dict[str, jax.Array]:
    """{'path/of/layer': all singular values of W, descending}; ValueError as for `sigmas`."""
    return network.singular_values(*_network(model)[:2])


def power_steps(model: Any, n: int = 1) -> None:
    """Takes n power steps of all of a model's weights in place, in few kernels.

    Raises:
      ValueError: as for `sigmas`, and if n is not a positive whole number.
    """
    if not spectral.is_whole(n) or n < 1:
        raise ValueError(f"n={n!r} is not a number of power steps: give a whole number, 1 or more")
    variables, specs, places = _network(model)
    for path, vector in flatten_dict(network.update_spectral(variables, specs, n)).items():
        variable, stack = places[COLLECTION, *path]
        variable.set_value(stack.back(vector))


def fold(model: Any) -> Any:
    """The plain model with W̄ as its weights: NNX's own layers, without u, v and learnt scales.

    Raises:
      ValueError: as for `sigmas`, and for a subclass of a normalized class.
    """
    model = nnx.clone(model)
    variables, specs, places = _network(model)
    bars = flatten_dict(network.normalize(variables["params"], variables[COLLECTION], specs)[0])
    for parts, layer in list(nnx.iter_graph(model)):
        if not isinstance(layer, Normalized):
            continue
        kind, plain = type(layer).__name__, layer.plain_class
        if "plain_class" not in vars(type(layer)):
            raise ValueError(f"{kind} is a subclass of a normalized class and has no plain class: "
                             f"make it a subclass of {plain.__name__}, and normalize {kind} by "
                             "normalized(…)")
        for name, spec, _ in layer.sn_specs:
            path = (*map(str, parts), name)
            variable, stack = places["params", *path]
            setattr(layer, name, variable.copy(stack.back(bars[path])))
            if spec.learnable_scale:
                delattr(layer, gamma_of(name))
        ours = {"sn_specs", "sn_input_size", SWITCH}
        ours -= set(inspect.signature(plain.__init__).parameters)
        for name, value in list(vars(layer).items()):
            if name in ours or isinstance(value, SpectralVector):
                delattr(layer, name)
        object.__setattr__(layer, "__class__", plain)
    return model


def _network(model: Any) -> tuple[dict[str, Any], dict[Path, Spec], dict[Path, Any]]:
    """(variables as in Linen, stacks in front; their specs; {path: (Variable, its `Stack`)})."""
    places: dict[Path, tuple[Any, Stack]] = {}
    specs: dict[Path, Spec] = {}
    for parts, layer in nnx.iter_graph(model):
        for name, spec, shape in layer.sn_specs if isinstance(layer, Normalized) else ():
            path, weight = (*map(str, parts), name), vars(layer)[name]
            where, spec = "/".join(path), nnx_linen.completed(layer, spec)
            (stack,) = stacks_of({name: (weight, shape)}, where).values()
            places["params", *path] = weight, stack
            shapes = spec.shapes(jax.ShapeDtypeStruct(shape, weight.dtype))
            held = {vector: getattr(layer, attribute_of(name, vector)) for vector in shapes}
            stacks = stacks_of({k: (held[k], shapes[k]) for k in shapes}, where, stack.sizes)
            for vector in shapes:
                places[COLLECTION, *state_path(path), vector] = held[vector], stacks[vector]
            if spec.learnable_scale:
                gamma = getattr(layer, gamma_of(name))
                rows = (gamma.size // math.prod(stack.sizes),) * (spec.divisor == "weight")
                (of_gamma,) = stacks_of({"": (gamma, rows)}, where, stack.sizes).values()
                places["params", *path[:-1], gamma_of(name)] = gamma, of_gamma
            mask: Any = spec.mask
            if mask is not None and mask.shape != shape:
                (of_mask,) = stacks_of({"": (mask, shape)}, where, stack.sizes).values()
                mask = of_mask.front(mask).reshape(-1, *shape)
            axes = (0,) * len(stack.sizes)
            specs[path] = dataclasses.replace(spec, mask=mask, stack=axes, state_stack=axes)
    if not specs:
        raise ValueError(f"{type(model).__name__} has no normalized layer: pass a model whose "
                         "layers are those of sngan_jax.nnx")
    flat = {path: stack.front(variable[...]) for path, (variable, stack) in places.items()}
    return {"params": {}, COLLECTION: {}, **unflatten_dict(flat)}, specs, places
