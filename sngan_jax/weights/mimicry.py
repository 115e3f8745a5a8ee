"""Checkpoints of mimicry (kwotsin/mimicry, `torch-mimicry` on the package index), without PyTorch.

SNGAN at 32, 48, 64 and 128 pixels and cGAN-PD at 32 and 128: `netG_100000_steps.pth` and
`netD_100000_steps.pth`, or the state dictionaries in them. The networks are those of
sngan_projection under other names, with these differences: bilinear up-sampling, PyTorch's ε of
batch norm, a bias in every last layer, and a ReLU at the start of each of D's blocks that works in
place, so that the shortcut has lost its negative part too (`config.shortcut_relu`). Source:
torch-mimicry 0.1.16, nets/ and modules/.
"""

from __future__ import annotations

from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.metrics.torch_reader import read_torch
from sngan_jax.weights.sngan_projection import convert
from sngan_jax.weights.trained import Arrays, Trained

NAME = "mimicry"
FIELDS = {"bn_epsilon": 1e-5, "upsampling": "bilinear", "shortcut_relu": True, "loss": "hinge",
          "beta1": 0.0, "beta2": 0.9, "n_dis": 5}
_MODEL = "model_state_dict."
# The last part of PyTorch's name → that of sngan_projection's; in a batch norm, and elsewhere.
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "avg_mean", "running_var": "avg_var"}
# sn_u belongs to mimicry's own layers (cGAN-PD at 32 pixels), which step in evaluation too.
_LAYER = {"weight": "W", "weight_orig": "W", "bias": "b", "weight_u": "u", "weight_v": "v",
          "sn_u": "u"}


def read(files: list[Path]) -> Trained:
    """The networks of a checkpoint of G, and of one of D if there is one.

    Raises:
      UserError: for a file that is missing, damaged, of another kind or structure, or two of one
        network.
    """
    return convert([(file, renamed(read_torch(file), file)) for file in files], FIELDS, NAME)


def renamed(tensors: Arrays, file: Path) -> Arrays:
    """A checkpoint's arrays under the names of sngan_projection; UserError if it has none."""
    if any(name.startswith(_MODEL) for name in tensors):
        tensors = {name.removeprefix(_MODEL): array for name, array in tensors.items()
                   if name.startswith(_MODEL)}
    found: Arrays = {}
    for name, array in tensors.items():
        *path, last = name.split(".")
        place = "/".join(path)
        if last in ("num_batches_tracked", "sn_sigma"):
            continue
        if place.endswith("/embed") and array.ndim == 2:  # in a conditional batch norm
            place = place.removesuffix("/embed")
            half = array.shape[1] // 2
            found[f"{place}/gammas/W"], found[f"{place}/betas/W"] = array[:, :half], array[:, half:]
        elif ".".join([*path, "running_mean"]) in tensors:
            found[f"{place.removesuffix('/bn')}/{_NORM.get(last, last)}"] = array
        else:
            found[f"{place}/{_LAYER.get(last, last)}"] = array
    if not found:
        raise UserError(f"{file} holds no arrays: give a checkpoint of mimicry, such as "
                        "netG_100000_steps.pth")
    return found
