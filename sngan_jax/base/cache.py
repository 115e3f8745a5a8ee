"""Where what was fetched or computed once is kept: weights, statistics, compiled programs."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def cache_folder() -> Path:
    """$SNGAN_JAX_CACHE, or the folder sngan_jax in the user's cache."""
    given = os.environ.get("SNGAN_JAX_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sngan_jax"


def keep_compiled_programs() -> None:
    """Makes a second start of the same program read what the first one compiled.

    $JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=false turns it
    off.
    """
    # JAX adds its options to the config at run time.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
