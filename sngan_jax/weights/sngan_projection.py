"""The authors' own residual networks: snapshots of pfnet-research/sngan_projection (Chainer).

`chainer.serializers.save_npz` wrote one `.npz` for G and one for D, with names such as
`block2/c1/W`. Names and layouts come from gen_models/, dis_models/ and source/links/ of that
repository at e84b1a5.

Its convolutions are (out, in, h, w), its dense layers (out, in), and G's first one fills images of
(channels, h, w). D stores only u, and takes a power step in every evaluation too. Here u and v are
the result of that step, so that our evaluation, which takes none, equals theirs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.base.types import JsonObject
from sngan_jax.metrics.arrays import read_npz
from sngan_jax.models.blocks import CONCAT_FEATURES
from sngan_jax.models.resnet import RESNETS
from sngan_jax.run.config import defaults
from sngan_jax.weights.trained import Arrays, Trained

NAME = "sngan_projection"
# Chainer's constants of batch norm; the schedule in the authors' configs.
FIELDS = {"bn_epsilon": 2e-5, "upsampling": "nearest", "loss": "hinge", "beta1": 0.0, "beta2": 0.9,
          "n_dis": 5, "generator_batch_size": 128}


def read(files: list[Path]) -> Trained:
    """The networks of one snapshot of G, and of one of D if there is one.

    Raises:
      UserError: for a file that is missing, damaged, of another kind or structure, or two of one
        network.
    """
    found = []
    for file in files:
        try:
            found.append((file, read_npz(file)))
        except FileNotFoundError:
            raise UserError(f"there is no file {file}: check its path") from None
        except ValueError as error:
            raise UserError(f"{file} cannot be read ({error}): give a snapshot of one network, "
                            "such as ResNetGenerator_450000.npz") from error
    return convert(found, FIELDS, NAME)


def convert(found: Iterable[tuple[Path, Arrays]], fields: Mapping[str, object], source: str
            ) -> Trained:
    """The networks in files whose arrays have the names of this module's docstring.

    Args:
      found: each file and its arrays; D's may have v beside u.
      fields: config fields that do not follow from the shapes.
      source: name of the code base.

    Raises:
      UserError: for anything that is not one of these networks.
    """
    sorted_files: dict[str, tuple[Path, Arrays]] = {}
    for file, tensors in found:
        player = ("generator" if "l1/W" in tensors else
                  "discriminator" if "block1/c1/W" in tensors else "")
        if not player:
            raise UserError(f"{file} holds neither a generator nor a discriminator of {source}: "
                            f"it has no l1 and no block1, but {_some(tensors)}")
        if player in sorted_files:
            raise UserError(f"{sorted_files[player][0]} and {file} are both a {player}: give one "
                            "of each")
        sorted_files[player] = file, tensors
    if "generator" not in sorted_files:
        raise UserError(f"{sorted_files['discriminator'][0]} is a discriminator alone: give the "
                        "generator's file too, whose first layer says how large the images are")
    config: JsonObject = {**defaults(), **fields}
    arrays: Arrays = {}
    num_classes = 0
    for player, take in (("generator", _generator), ("discriminator", _discriminator)):
        if player not in sorted_files:
            continue
        file, tensors = sorted_files[player]
        left = Left(tensors, file, source)
        try:
            own, changes, classes = take(left, config)
        except KeyError as error:
            raise UserError(f"{file} is not a {player} of {source}: {error.args[0]} is missing"
                            ) from error
        except ValueError as error:
            raise UserError(f"{file} is not a {player} of {source} ({error})") from error
        left.check_empty(player)
        if player == "discriminator" and classes != num_classes:
            raise UserError(f"{file} has {classes} classes, but {sorted_files['generator'][0]} has "
                            f"{num_classes}: they belong to two models")
        num_classes = classes
        config.update(changes)
        arrays |= {f"{player}/{name}": np.asarray(value, np.float32)
                   for name, value in own.items()}
    channels = arrays["generator/params/conv/kernel"].shape[3]
    if channels not in (1, 3):
        raise UserError(f"{sorted_files['generator'][0]} makes images of {channels} channels; "
                        "only 1 (grey) and 3 (RGB) are supported")
    iteration = iteration_of(file.name for file, _ in sorted_files.values())
    return Trained(config, channels, num_classes, iteration, arrays, {"source": source})


def iteration_of(names: Iterable[str]) -> int:
    """The iteration in names such as netG_100000_steps.pth, ResNetGenerator_450000.npz; else 0."""
    found = [re.search(r"_(\d{1,9})(_steps)?\.\w+$", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


class Left:
    """The arrays of a file, each to be taken once; KeyError for a missing one."""

    def __init__(self, tensors: Arrays, file: Path, source: str):
        self._tensors, self._file, self._source = dict(tensors), file, source

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str, axes: int) -> np.ndarray:
        """An array with `axes` axes; ValueError if it has another number of them."""
        array = self._tensors.pop(name)
        if array.ndim != axes or array.dtype.kind != "f":
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, expected floating "
                             f"point numbers with {axes} axes")
        return array

    def drop(self, name: str) -> None:
        """Leaves out an array that only training needs."""
        self._tensors.pop(name, None)

    def check_empty(self, player: str) -> None:
        """UserError for arrays that no such network has."""
        if self._tensors:
            raise UserError(f"{self._file} is not a known {player} of {self._source}: it also "
                            f"holds {_some(self._tensors)}")


def _some(tensors: Arrays) -> str:
    names = sorted(tensors)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def _generator(left: Left, config: JsonObject) -> tuple[Arrays, JsonObject, int]:
    """Our arrays, the fields that follow from their shapes, and the number of classes."""
    dense, bias = left.take("l1/W", 2), left.take("l1/b", 1)
    own: Arrays = {}
    widths: list[int] = []
    num_classes = 0
    for i in range(2, 2 + _count(left, "block{}/c1/W", 2)):
        theirs, ours = f"block{i}", f"block{i - 1}"
        kernel, own[f"params/{ours}/conv1/bias"] = _convolution(left, f"{theirs}/c1")
        own[f"params/{ours}/conv1/kernel"] = kernel
        widths = widths or [kernel.shape[2]]
        widths.append(kernel.shape[3])
        for name, there in (("conv2", "c2"), ("shortcut", "c_sc")):
            (own[f"params/{ours}/{name}/kernel"],
             own[f"params/{ours}/{name}/bias"]) = _convolution(left, f"{theirs}/{there}")
        for j in (1, 2):
            num_classes = _norm(left, f"{theirs}/b{j}", f"{ours}/norm{j}", own)
    last = len(widths) + 1
    _norm(left, f"b{last}", "norm", own)
    name = f"c{last}" if f"c{last}/W" in left else f"l{last}"
    own["params/conv/kernel"], own["params/conv/bias"] = _convolution(left, name)

    size = math.isqrt(dense.shape[0] // widths[0]) if widths[0] else 0
    if size < 1 or dense.shape[0] != size * size * widths[0] or bias.shape != dense.shape[:1]:
        raise ValueError(f"l1/W of shape {dense.shape} does not fill squares of {widths[0]} "
                         "channels")
    # From (channels, h, w) to (h, w, channels).
    moved = dense.reshape(widths[0], size, size, -1).transpose(3, 1, 2, 0)
    own["params/dense/kernel"] = moved.reshape(dense.shape[1], -1)
    own["params/dense/bias"] = bias.reshape(widths[0], size, size).transpose(1, 2, 0).reshape(-1)
    model, width = _model(tuple(widths), "generator")
    return own, {"model": model, "generator_width": width, "latent_size": dense.shape[1],
                 "image_size": size * 2 ** (len(widths) - 1), "conditional": num_classes > 0
                 }, num_classes


def _discriminator(left: Left, config: JsonObject) -> tuple[Arrays, JsonObject, int]:
    """The counterpart of `_generator` for D; `config` has the generator's fields and sizes."""
    own: Arrays = {}
    widths: list[int] = []
    blocks = _count(left, "block{}/c1/W", 1)
    for i in range(1, 1 + blocks):
        names = {"conv1": "c1", "conv2": "c2"}
        if f"block{i}/c_sc/W" in left:
            names["shortcut"] = "c_sc"
        for ours, theirs in names.items():
            _normalized(left, f"block{i}/{theirs}", f"block{i}/{ours}", own)
        widths.append(own[f"params/block{i}/conv2/kernel"].shape[3])
    # In mimicry's network for 48 pixels, this is the name of the last block.
    last = f"l{blocks}" if f"l{blocks}/W" in left else f"l{blocks + 1}"
    _normalized(left, last, "head/dense", own)
    bias = "params/head/dense/bias" in own
    num_classes, conditioning = 0, "projection"
    if "l_y/W" in left:
        table = left.take("l_y/W", 2)
        num_classes, features = table.shape
        conditioning = "projection" if features == widths[-1] else "concat"
        if features not in (widths[-1], CONCAT_FEATURES):
            raise ValueError(f"l_y/W of shape {table.shape} does not fit {widths[-1]} features")
        ours = "head/embed" if conditioning == "projection" else "embed"
        own[f"params/{ours}/embedding"] = table
        # Their matrix has classes as rows, ours has features: u and v change places.
        own[f"spectral/{ours}/v"], own[f"spectral/{ours}/u"] = _vectors(left, "l_y", table)
    model, width = _model(tuple(widths), "discriminator", config["model"])
    return own, {"discriminator_width": width, "conditioning": conditioning, "model": model,
                 "head_bias": "yes" if bias else "no"}, num_classes


def _count(left: Left, name: str, first: int) -> int:
    """The number of names without a gap: name.format(first), …"""
    count = 0
    while name.format(first + count) in left:
        count += 1
    if not count:
        raise KeyError(name.format(first))
    return count


def _model(widths: tuple[int, ...], player: str, of_generator: str = "") -> tuple[str, int]:
    """The residual network of these widths, and its base width; ValueError if there is none."""
    for model, shape in RESNETS.items():
        multiples = getattr(shape, player)
        base = widths[-1] // multiples[-1]
        if (base and tuple(base * m for m in multiples) == widths
                and of_generator in ("", model)):
            return model, base
    others = ", ".join(f"{model} {getattr(shape, player)}" for model, shape in RESNETS.items())
    raise ValueError(f"its widths are {widths}; known are, in multiples of one width, {others}"
                     + (f"; its generator is a {of_generator}" if of_generator else ""))


def _kernel(array: np.ndarray) -> np.ndarray:
    """(out, in, h, w) to (h, w, in, out), or (out, in) to (in, out)."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _convolution(left: Left, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (h, w, in, out) and bias (out,)."""
    return _kernel(left.take(f"{name}/W", 4)), left.take(f"{name}/b", 1)


def _norm(left: Left, theirs: str, ours: str, own: Arrays) -> int:
    """Batch norm, conditional or not, into `own`; returns its number of classes."""
    left.drop(f"{theirs}/N")  # number of batches seen
    mean, variance = (left.take(f"{theirs}/{name}", 1) for name in ("avg_mean", "avg_var"))
    if f"{theirs}/gammas/W" not in left:
        own[f"params/{ours}/scale"] = left.take(f"{theirs}/gamma", 1)
        own[f"params/{ours}/bias"] = left.take(f"{theirs}/beta", 1)
        own[f"batch_stats/{ours}/mean"], own[f"batch_stats/{ours}/var"] = mean, variance
        return 0
    for name in ("gamma", "beta"):
        own[f"params/{ours}/{name}"] = left.take(f"{theirs}/{name}s/W", 2)
    (own[f"batch_stats/{ours}/norm/mean"], own[f"batch_stats/{ours}/norm/var"]) = mean, variance
    return len(own[f"params/{ours}/gamma"])


def _normalized(left: Left, theirs: str, ours: str, own: Arrays) -> None:
    """A layer with spectral normalization into `own`, with its bias if it has one."""
    dense = theirs.startswith("l")
    weight = left.take(f"{theirs}/W", 2 if dense else 4)
    own[f"params/{ours}/kernel"] = _kernel(weight)
    if f"{theirs}/b" in left:
        own[f"params/{ours}/bias"] = left.take(f"{theirs}/b", 1)
    u, v = _vectors(left, theirs, weight)
    if not dense:  # from (in, h, w) to (h, w, in), the order of our kernel's columns
        v = v.reshape(weight.shape[1:]).transpose(1, 2, 0).reshape(-1)
    own[f"spectral/{ours}/u"], own[f"spectral/{ours}/v"] = u, v


def _vectors(left: Left, name: str, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u (rows,) and v (columns,) at evaluation, for the weight as (rows, columns)."""
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    if f"{name}/v" in left:
        u, v = left.take(f"{name}/u", 1), left.take(f"{name}/v", 1)
        if (len(u), len(v)) != matrix.shape:
            raise ValueError(f"{name}/u and v of lengths {len(u)} and {len(v)} do not fit W of "
                             f"shape {weight.shape}")
        return u, v
    u = left.take(f"{name}/u", 2)
    if u.shape != (1, len(matrix)):
        raise ValueError(f"{name}/u of shape {u.shape} does not fit W of shape {weight.shape}")
    v = _unit(u[0] @ matrix)
    return _unit(matrix @ v), v


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / (np.linalg.norm(vector) + 1e-12)
