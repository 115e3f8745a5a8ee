"""Statistics of features as a `.npz` with `mu` and `sigma`, as FID programs exchange them.

Our files also describe their source. A file from another program has no description. It is used as
it is, and the record of the score says 'unknown' for what is missing.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import is_file
from sngan_jax.base.types import JsonObject
from sngan_jax.data.archive import array_names
from sngan_jax.data.files import IMAGE_KEYS, keys_in_name
from sngan_jax.metrics.arrays import read_npz, write_npz
from sngan_jax.metrics.extractor import Extractor
from sngan_jax.metrics.frechet import Moments


def save_statistics(file: Path, of: Moments, about: Mapping[str, object]) -> None:
    """Writes mu (d,), sigma (d, d), n and a description, atomically.

    Args:
      file: its name ends in .npz.
      of: the moments.
      about: plain values; `load_statistics` compares 'extractor', 'checksum' and 'resize'.
    """
    write_npz(file, {"mu": of.mean, "sigma": of.covariance, "n": of.n,
                     "about": json.dumps(about)})


def load_statistics(file: Path, extractor: Extractor) -> tuple[Moments, JsonObject]:
    """The moments in a file, and its description; n is 0 if the file does not say.

    Raises:
      UserError: if it is missing, damaged, without mu and sigma, or of another extractor or resize.
    """
    try:
        arrays = read_npz(file)
        if not {"mu", "sigma"} <= set(arrays):
            raise UserError(f"{file} holds {', '.join(arrays) or 'nothing'}: a statistics file "
                            "holds 'mu' and 'sigma'")
        if any(arrays[k].dtype.kind not in "fiu" for k in ("mu", "sigma")):
            raise ValueError("its 'mu' and 'sigma' must be real numbers")
        mean, covariance = (np.asarray(arrays[k], np.float64) for k in ("mu", "sigma"))
        n = int(arrays.get("n", 0))
        about = json.loads(str(arrays.get("about", "{}")))
        if not isinstance(about, dict) or n < 0:
            raise ValueError("it does not say what it was made from")
    except FileNotFoundError:
        raise UserError(f"there is no statistics file {file}") from None
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"the statistics file {file} cannot be read ({error}): it is damaged; "
                        "make or fetch it again") from error
    d = extractor.dimensions
    if mean.shape != (d,) or covariance.shape != (d, d):
        raise UserError(f"{file} is of another extractor: its mean has the shape {mean.shape} and "
                        f"its covariance {covariance.shape}, but {extractor.name} has {d} features")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"{file} holds values that are not finite: make or fetch it again")
    if not _is_covariance(covariance):
        raise UserError(f"the 'sigma' of {file} is not a covariance, which is symmetric and has no "
                        "negative eigenvalue: make or fetch it again")
    for key, ours in _identity(extractor).items():
        if about.get(key, ours) != ours:
            raise UserError(f"{file} was made with the {key} {about[key]!r}, but this is "
                            f"{ours!r}: scores of the two cannot be compared; make it again")
    return Moments(mean, covariance, n), about


def _is_covariance(matrix: np.ndarray) -> bool:
    """Whether a real matrix is symmetric and positive semidefinite, up to rounding in float32."""
    largest = np.abs(np.diag(matrix)).max()
    if np.abs(matrix - matrix.T).max() > 1e-4 * largest:
        return False
    try:
        np.linalg.cholesky(matrix + (1e-3 * largest + np.finfo(float).tiny) * np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        return False
    return True


def is_statistics(file: str | Path) -> bool:
    """Whether a file is an .npz with `mu` and without images; False for a damaged or missing file.

    If it also holds images, FILE#mu means the statistics.
    """
    name, keys = keys_in_name(str(file))
    try:
        if keys not in ("", "mu") or not is_file(Path(name).expanduser()):
            return False
        with zipfile.ZipFile(Path(name).expanduser()) as archive:
            there = set(array_names(archive))
    except Exception:  # zipfile raises almost anything on a damaged file
        return False
    return "mu" in there and (keys == "mu" or there.isdisjoint(IMAGE_KEYS))


def without_key(file: str) -> str:
    """FILE of FILE#mu."""
    return str(Path(keys_in_name(file)[0]).expanduser())


def cache_name(extractor: Extractor, fingerprint: str, split: str, n: int) -> str:
    """A file name that is a function of everything on which the statistics depend."""
    key = json.dumps([*_identity(extractor).values(), fingerprint, split, n])
    return f"statistics-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npz"


def _identity(extractor: Extractor) -> dict[str, str]:
    return {"extractor": extractor.name, "checksum": extractor.checksum,
            "resize": extractor.resize}
