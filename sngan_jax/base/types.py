"""Names for types that several modules share."""

from __future__ import annotations

from typing import Any, Protocol

# A tree of arrays, or of what stands for them, such as shapes. JAX accepts any nesting of
# containers and has no narrower type for it.
PyTree = Any
# A leaf of such a tree: an array, or what stands for it (a shape, an axis of `jax.pmap`, None).
Leaf = Any
# An object of a JSON file: its keys are in the documentation, its values are plain.
JsonObject = dict[str, Any]


class Config(Protocol):
    """A config with its fields as attributes, such as an `ml_collections.ConfigDict`."""

    def __getattr__(self, name: str) -> Any:
        """The value of a field."""
