"""What is known about NNX's layers, through their Linen twins, and variables in either form.

Used by `nnx.py`, which has the layers.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax.divisors import Shape, Spec
from sngan_jax.linen import WEIGHTS, Call, convolution_of, geometry_of, layout_of
from sngan_jax.packing import Path, Variables
from sngan_jax.reparametrization import COLLECTION, state_path
from sngan_jax.spectral import is_whole

CONVOLUTIONS = (nnx.Conv, nnx.ConvTranspose)


class SpectralVector(nnx.Variable[Any]):
    """A vector of the power iteration: float32, or float64 beside a weight of float64.

    Its metadata: `weight`, the name of the weight that it belongs to; `vector`, its name in Linen.
    """


def attribute_of(weight: str, vector: str) -> str:
    """The name of a vector's attribute, such as 'u', or 'mix_u' for the weight 'mix'."""
    return vector if weight in WEIGHTS else f"{weight}_{vector}"


def twin_of(layer: Any) -> Any:
    """The Linen layer with the same weight and geometry; a custom layer is its own twin."""
    def same(*names: str) -> dict[str, Any]:
        return {"parent": None, **{name: getattr(layer, name) for name in names}}

    match layer:
        case nnx.Linear():
            return nn.Dense(layer.out_features, **same())
        case nnx.LinearGeneral():
            return nn.DenseGeneral(layer.out_features, batch_dims=tuple(layer.batch_axis), **same())
        case nnx.Einsum():
            return nn.Einsum(layer.kernel_shape, layer.einsum_str, **same())
        case nnx.Embed():
            return nn.Embed(layer.num_embeddings, layer.features, **same())
        case nnx.Conv():
            return nn.Conv(layer.out_features, **same(
                "kernel_size", "strides", "padding", "input_dilation", "kernel_dilation",
                "feature_group_count"))
        case nnx.ConvTranspose():
            return nn.ConvTranspose(layer.out_features, **same(
                "kernel_size", "strides", "padding", "kernel_dilation", "transpose_kernel"))
    return layer


def layout(layer: Any, weight: Any, call: Call | None = None) -> str:
    """The layout of a layer's weight, taken from its twin. ValueError as for `linen.layout_of`.

    Args:
      layer: any layer; for a class that is not NNX's own, the last axis is the output.
      weight: its weight, or an array of that shape.
      call: arguments of a call to an Einsum, which may name another equation; None for its own.
    """
    if call is None and isinstance(layer, nnx.Einsum):
        left, right = layer.einsum_str.split("->")[0].split(",")
        # An ellipsis in the kernel stands for axes that the input has too.
        dots = weight.ndim - len(right.replace("...", "")) if "..." in right else 0
        call = (np.empty((1,) * (len(left.replace("...", "")) + dots)),), {}
    return layout_of(twin_of(layer), weight, call or ((), {}))


def rngs_of(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: Sequence[str]
            ) -> Any:
    """The constructor argument rngs of a layer's plain class, or None if it takes none.

    Raises:
      TypeError: for arguments that the constructor does not take, and if rngs is missing.
    """
    kind, plain = type(layer).__name__, layer.plain_class
    signature = inspect.signature(plain.__init__)
    try:
        rngs = signature.bind(layer, *args, **kwargs).arguments.get("rngs")
    except TypeError as error:
        raise TypeError(
            f"{kind}: {error}; it takes the arguments of {plain.__name__}, among them "
            f"rngs=nnx.Rngs(seed), and the options {', '.join(options)}") from None
    wanted = signature.parameters.get("rngs")
    if wanted and wanted.default is wanted.empty and not isinstance(rngs, nnx.Rngs):
        raise TypeError(f"{kind} draws its weights from rngs=nnx.Rngs(seed), not from an object of "
                        f"type {type(rngs).__name__}")
    return rngs


def weights_of(layer: Any, named: Mapping[str, str | None]) -> dict[str, str]:
    """{name: layout} of a layer's weights.

    Args:
      layer: any layer.
      named: {name: layout, or None for the layout that the layer's class has}. All names with a
        layout must be parameters of the layer; of the others, at least one.

    Raises:
      ValueError: if there is no such weight, or it has fewer than two axes.
    """
    kind = type(layer).__name__
    held = {name for name, value in vars(layer).items() if isinstance(value, nnx.Variable)}
    missing = {name for name, given in named.items() if given} - held
    if missing or not held & set(named):
        there = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(layer))]
        raise ValueError(
            f"{kind} has no parameter {' or '.join(map(repr, sorted(missing or named)))}; it has "
            f"{', '.join(there) or 'none at all'}: name its weights in normalized(…, "
            "weights={name: layout}); in a module of several layers, normalize those")
    found = {}
    for name in sorted(held & set(named)):
        weight = vars(layer)[name]
        if weight.ndim < 2:
            raise ValueError(f"{kind}: the parameter '{name}' of shape {weight.shape} is not a "
                             "matrix: normalize only weights of two or more axes, and name them in "
                             "normalized(…, weights={name: layout})")
        found[name] = named[name] or layout(layer, weight[...])
    return found


def joined_views(*views: Callable[..., None]) -> Callable[..., None]:
    """A `set_view` for `nnx.view` that calls several, each with its own arguments."""
    def set_view(self: Any, **kwargs: Any) -> None:
        for view in views:
            names = inspect.signature(view).parameters
            view(self, **{name: value for name, value in kwargs.items() if name in names})

    parameters: dict[str, inspect.Parameter] = {}
    for view in views:
        parameters |= inspect.signature(view).parameters
    parameters = {name: inspect.Parameter(name, (
        inspect.Parameter.KEYWORD_ONLY if name != "self" else
        inspect.Parameter.POSITIONAL_OR_KEYWORD), default=parameter.default)
        for name, parameter in parameters.items()}
    set_view.__signature__ = inspect.Signature([*parameters.values()])  # type: ignore[attr-defined]
    return set_view


def image_size(layer: Any, spec: Spec, size: Any) -> Shape | None:
    """The option input_size of a layer; ValueError if it is missing, misplaced or not a size."""
    given, kind = f"input_size={size!r}", type(layer).__name__
    if spec.divisor != "operator" or not isinstance(layer, CONVOLUTIONS):
        if size is not None:
            raise ValueError(f"{kind}: {given} belongs to divisor='operator' of a convolution: "
                             "leave it out")
        return None
    size, axes = (size,) if is_whole(size) else size, len(layer.kernel_size)
    if (not isinstance(size, tuple | list) or len(size) != axes
            or not all(is_whole(n) and n > 0 for n in size)):
        raise ValueError(f"{kind}: divisor='operator' is the norm of a convolution of images of "
                         f"one size, so it needs input_size={(32,) * axes}, for instance, not "
                         f"{given}")
    return tuple(map(int, size))


def completed(layer: Any, spec: Spec, call: Call | None = None) -> Spec:
    """The spec with the layer's arrays and its effect on an image: its mask and its operator.

    Raises:
      ValueError: for a call with images of another size than the operator's, or with an equation
        in which the kernel is another matrix.
    """
    mask, operator, kind = None, None, type(layer).__name__
    inputs = call and (call[0][0] if call[0] else call[1].get("inputs"))
    if isinstance(layer, CONVOLUTIONS):
        mask = layer.mask
    if spec.divisor == "operator":
        image = (*layer.sn_input_size, layer.in_features) if layer.sn_input_size else ()
        geometry = geometry_of(twin_of(layer), ((jax.ShapeDtypeStruct(image, jnp.float32),), {}))
        operator = geometry and (functools.partial(convolution_of, geometry[0]), geometry[1])
        if operator and inputs is not None and inputs.shape[-len(image):] != image:
            raise ValueError(f"{kind} has the norm of a convolution of images {image} and gets "
                             f"{inputs.shape}: make it with the input_size of its images")
    if (call and isinstance(layer, nnx.Einsum)
            and layout(layer, layer.kernel[...], call) != spec.layout):
        raise ValueError(f"{kind} was made for {layer.einsum_str!r}, but in the equation of this "
                         "call its kernel is another matrix: make a layer for it")
    return dataclasses.replace(spec, mask=mask, operator=operator)


def linen_variables(model: Any, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The variables of an NNX model, as those of the same network in Linen.

    Args:
      model: an NNX model of any layers.
      names: {path of a layer in the NNX model: its path in Linen}, such as {"conv": "SNConv_0",
        "blocks/0": "Block_0"}; layers not listed keep their names.

    Returns:
      {'params': …, 'spectral': …, 'batch_stats': …}, without random streams.

    Raises:
      ValueError: for a name that is not a layer's, and for two variables with one name.
    """
    return unflatten_dict({path: variable[...] for path, _, variable in _paths(model, names or {})})


def nnx_state(model: Any, variables: Variables, names: Mapping[str, str] | None = None) -> Any:
    """The state of an NNX model from the variables of the same network in Linen.

    Args:
      model: the NNX model. It is not changed; `nnx.update(model, state)` changes it.
      variables: {'params': …, 'spectral': …, …}, possibly boxed with partitioning metadata.
      names: as for `linen_variables`.

    Raises:
      ValueError: as for `linen_variables`, and if the two are not of one network.
    """
    cure = "give variables of the same network, and names={path in NNX: path in Linen}"
    if not isinstance(variables, Mapping):
        raise ValueError(f"expected the variables of a Linen network, a dictionary of collections, "
                         f"not an object of type {type(variables).__name__}")
    left = flatten_dict(meta.unbox(dict(variables)))
    flat = []
    for path, place, variable in _paths(model, names or {}):
        value = jnp.asarray(left.pop(path)) if path in left else None
        if value is None or (value.shape, value.dtype) != (variable.shape, variable.dtype):
            found = "missing" if value is None else f"{value.dtype}{list(value.shape)}"
            raise ValueError(
                f"the Linen variable '{'/'.join(path)}' is {found}, but the model has "
                f"{variable.dtype}{list(variable.shape)} at '{'/'.join(map(str, place))}': {cure}")
        flat.append((place, variable.copy(value)))
    if left:
        raise ValueError("the model has no place for the Linen variable "
                         f"'{'/'.join(min(left))}': {cure}")
    return nnx.from_flat_state(flat)


def _paths(model: Any, names: Mapping[str, str]) -> Iterator[tuple[Path, tuple[Any, ...], Any]]:
    """(path of collection and names in Linen, path in the model, variable) for each variable."""
    unused, seen = set(names), set[Path]()
    for place, variable in nnx.iter_graph(model):
        if not isinstance(variable, nnx.Variable) or isinstance(variable, nnx.RngState):
            continue
        path = tuple(map(str, place))
        if isinstance(variable, SpectralVector):
            path, collection = (*path[:-1], variable.weight), COLLECTION
            path = (*state_path(path), variable.vector)
        else:
            collection = nnx.variable_name_from_type(type(variable))
        for n in range(len(path), 0, -1):
            if (prefix := "/".join(path[:n])) in names:
                unused.discard(prefix)
                path = (*names[prefix].split("/"), *path[n:])
                break
        path = (collection, *path)
        if path in seen:
            raise ValueError(f"two variables of the model would be '{'/'.join(path)}' in Linen: "
                             "give each layer a name of its own in names")
        seen.add(path)
        yield path, place, variable
    if unused:
        raise ValueError(f"names has {min(unused)!r}, but the model has no layer of that path: "
                         "give paths such as 'conv' or 'blocks/0'")
