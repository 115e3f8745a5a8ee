"""Which packages come with which extra, and the error for one that is missing."""

from __future__ import annotations

import importlib.util

# {module: the extra of setup.cfg that brings it}; other modules come with the package itself.
EXTRAS = {
    "PIL": "train", "absl": "train", "array_record": "train", "importlib_resources": "train",
    "jinja2": "train", "markupsafe": "train", "matplotlib": "train", "ml_collections": "train",
    "orbax": "train", "pandas": "train", "sklearn": "train",
    "tensorboardX": "train", "tensorflow_datasets": "train", "tqdm": "train",
    "submitit": "sweep", "torch": "bench", "tensorflow": "tf",
    "libtpu": "tpu-check"}


class MissingExtra(ModuleNotFoundError):
    """A module that comes with an extra is not installed; the message says which extra."""


def need(package: str, *modules: str) -> None:
    """Checks that the modules are installed that a package of this library imports.

    Raises:
      MissingExtra: for the first one that is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(_sentence(module, f"{package} needs"), name=module)


def missing(error: ModuleNotFoundError) -> str | None:
    """The sentence about a module that was not found; None if no extra brings it."""
    if isinstance(error, MissingExtra):
        return str(error)
    module = (error.name or "").partition(".")[0]
    return _sentence(module, "this needs") if module in EXTRAS else None


def _sentence(module: str, who: str) -> str:
    return (f"{who} the module {module}, which is not installed: pip install "
            f"'sngan_jax[{EXTRAS[module]}]'")
