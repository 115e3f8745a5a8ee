"""Cache of what was fetched or computed once: weights, statistics, compiled programs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$SNGAN_JAX_CACHE, or the folder sngan_jax in the user's cache."""
    given = os.environ.get("SNGAN_JAX_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sngan_jax"
