"""Which compilers of other devices are installed."""

import importlib.metadata


def is_installed(distribution: str) -> bool:
    """Whether pip has put it there; `experiments` may hide its modules."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
