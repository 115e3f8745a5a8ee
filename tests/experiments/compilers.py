"""Installed compilers of other devices, and the environment in which to run them."""

import importlib.metadata

from tests.run.processes import environment


def without_flags() -> dict[str, str]:
    """Environment of a program that starts libtpu, which fails on XLA flags for CPUs."""
    return {**environment(1), "XLA_FLAGS": ""}


def is_installed(distribution: str) -> bool:
    """Whether pip has installed a compiler; `experiments` may hide its modules."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
