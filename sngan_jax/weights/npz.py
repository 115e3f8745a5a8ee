"""Our own weights file: one `.npz` of named arrays, for any program that reads NumPy.

| name                                           | what                                            |
|------------------------------------------------|-------------------------------------------------|
| `generator/params/<layer>/kernel`              | (h, w, in, out); (in, out) of a dense layer     |
| `generator/params/<layer>/bias`, `scale`       | (out,)                                          |
| `generator/params/<layer>/gamma`, `beta`       | (classes, out), of a conditional batch norm     |
| `generator/batch_stats/<layer>/mean`, `var`    | (out,), running statistics of batch norm        |
| `discriminator/params/…`                       | as G's, before the division by σ                |
| `discriminator/spectral/<layer>/u`, `v`        | (rows,), (columns,): σ = uᵀWv                   |
| `about`                                        | JSON: config, channels, num_classes, iteration, |
|                                                | class_names, commit, command                    |

Layers are named as in `models/`, such as `block1/conv1`. W is the kernel as a matrix with one row
per output. Its columns are the other axes of the kernel, in order.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import write_errors
from sngan_jax.base.types import JsonObject
from sngan_jax.metrics.arrays import read_npz, write_npz
from sngan_jax.run.config import completed
from sngan_jax.weights.trained import Arrays, Trained

FORMAT = 1
DTYPES = ("float32", "float16")


def write(trained: Trained, file: Path, dtype: str = "float32") -> None:
    """Writes the networks atomically.

    Args:
      dtype: dtype of the parameters, one of DTYPES; statistics and vectors are always float32.

    Raises:
      UserError: if a parameter is too large for float16, or the file cannot be written
        (WriteError).
    """
    arrays: Arrays = {}
    for name, array in trained.arrays.items():
        small = dtype == "float16" and name.split("/")[1] == "params"
        if small and np.abs(array).max(initial=0) > np.finfo(np.float16).max:
            raise UserError(f"{name} holds a number of size {np.abs(array).max():.3g}, which "
                            "float16 cannot represent: choose float32")
        arrays[name] = np.asarray(array, np.float16 if small else np.float32)
    about = {"format": FORMAT, "config": trained.config, "channels": trained.channels,
             "num_classes": trained.num_classes, "iteration": trained.iteration, **trained.about}
    with write_errors("the weights file", file):
        write_npz(file, {**arrays, "about": np.array(json.dumps(about))})


def read(file: Path) -> Trained:
    """The contents of a file written by `write`, in float32.

    Raises:
      UserError: if it is missing, damaged, of another kind or of a newer version.
      PermissionError: if this user may not read it.
    """
    try:
        arrays = read_npz(file)
        about: JsonObject = json.loads(str(arrays.pop("about")))
        written = about.pop("format")
        fields = {name: about.pop(name) for name in Trained._fields[:4]}
        config = completed(fields.pop("config"))
        whole = all(isinstance(fields[name], int) for name in fields)
        names = about.get("class_names", [])
        if not (whole and isinstance(names, list) and len(names) in (0, fields["num_classes"])):
            raise ValueError("its description of itself is incomplete")
    except FileNotFoundError:
        raise UserError(f"there is no file {file}: check its path") from None
    except PermissionError:
        raise
    except KeyError as error:
        raise UserError(f"{file} is not a weights file of this library: it has no "
                        f"{error.args[0]!r}; use sngan import-weights for those of other projects"
                        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} cannot be read ({error}): it is damaged or of another kind"
                        ) from error
    if written > FORMAT:
        raise UserError(f"{file} was written by a newer version (format {written}, this is "
                        f"{FORMAT}): update sngan_jax")
    arrays = {name: np.asarray(array, np.float32) if array.dtype.kind == "f" else array
              for name, array in arrays.items()}
    return Trained(config, **fields, arrays=arrays, about=about)
