"""Facts about Linen's own layers: which parameter is the weight, its layout, its geometry."""

import dataclasses
from typing import Any

import jax
import opt_einsum
from flax import linen as nn
from flax.linen.recurrent import DenseParams
from jax import lax

from sngan_jax.divisors import Shape
from sngan_jax.spectral import Linear

# Names that Linen's own layers give their weights.
WEIGHTS = ("kernel", "embedding")
CONVOLUTIONS = (nn.Conv, nn.ConvLocal, nn.ConvTranspose)
LINEAR = (nn.Dense, nn.DenseGeneral, nn.Einsum, nn.Embed, DenseParams, *CONVOLUTIONS)

# The positional and keyword arguments of a call to a layer.
Call = tuple[tuple[Any, ...], dict[str, Any]]


def mask_of(layer: nn.Module) -> Any:
    """The mask of a convolution's weight, or None: other classes may call anything `mask`."""
    return layer.mask if isinstance(layer, CONVOLUTIONS) else None


def layout_of(layer: nn.Module, weight: jax.Array, call: Call) -> str:
    """The layout of a Linen layer's weight; in other classes, the last axis is the output.

    Raises:
      ValueError: for an Einsum that takes a diagonal or a sum of its kernel, so that the kernel is
        not one matrix.
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


def _einsum_layout(layer: nn.Einsum, weight: jax.Array, call: Call) -> str:
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
            "is not one matrix: use each of the kernel's letters once, in the input or the output"
        )
    return "".join(kinds[letter in left, letter in result] for letter in right)


def geometry_of(layer: nn.Module, call: Call) -> tuple[nn.Module, Shape] | None:
    """(the plain layer without bias and in full precision, the shape of one input image).

    None for a layer that is not a convolution.

    Raises:
      ValueError: for a convolution that is not one of Linen's.
    """
    if not isinstance(layer, LINEAR):
        raise ValueError(
            f"divisor='operator' supports Conv, ConvLocal, ConvTranspose and the matrix layers "
            f"only, not {type(layer).__name__}, whose input it does not know: use "
            "divisor='spectral'"
        )
    plain_class = next((kind for kind in CONVOLUTIONS if isinstance(layer, kind)), None)
    if plain_class is None:
        return None
    args, kwargs = call
    inputs = args[0] if args else kwargs["inputs"]
    # The compute dtype and replacements of the product itself are not part of the linear map. The
    # weight is masked already.
    changed = {
        "mask": None, "use_bias": False, "dtype": None, "precision": lax.Precision.HIGHEST,
        "kernel_init": nn.initializers.zeros, "preferred_element_type": None,
        "conv_general_dilated": None, "conv_general_dilated_cls": None,
    }
    fields = [f.name for f in dataclasses.fields(plain_class) if f.name not in ("parent", "name")]
    plain = plain_class(**{name: changed.get(name, getattr(layer, name)) for name in fields},
                        parent=None)
    n_spatial = 1 if isinstance(layer.kernel_size, int) else len(layer.kernel_size)
    return plain, inputs.shape[-n_spatial - 1 :]


def convolution_of(plain: Any, kernel: jax.Array) -> Linear:
    """The linear function of an image that a convolution with this kernel computes."""
    return lambda x: plain.apply({"params": {"kernel": kernel}}, x)
