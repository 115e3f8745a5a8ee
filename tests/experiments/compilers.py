"""Which compilers of other devices are installed, and what they are asked in."""

import importlib.metadata

from tests.run.processes import environment


def without_flags() -> dict[str, str]:
    """The environment of a program that wakes libtpu, which ends at flags of XLA for CPUs."""
    return {**environment(1), "XLA_FLAGS": ""}


def is_installed(distribution: str) -> bool:
    """Whether pip has put it there; `experiments` may hide its modules."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
