"""The benchmarks: `sngan bench`."""

import sys

from .. import cli
from . import PROGRAMS, __doc__


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark that the first word names; returns its exit status."""
    return cli.start(PROGRAMS, sys.argv[1:] if argv is None else argv, __doc__ or "", "bench ",
                     __package__ or "")


if __name__ == "__main__":
    sys.exit(main())
