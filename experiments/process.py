"""What every program sets in its own process: JAX's cache of compiled programs, and quiet logs."""

from __future__ import annotations

import functools
import re
import sys

from sngan_jax.base.cache import cache_folder, others_may_write
from sngan_jax.base.output import say


def keep_compiled_programs() -> None:
    """Lets a second start of the same program reuse what the first one compiled.

    $JAX_COMPILATION_CACHE_DIR names another folder; JAX_ENABLE_COMPILATION_CACHE=false turns it
    off.
    """
    import jax

    # JAX adds its options to the config at run time.
    if jax.config.jax_compilation_cache_dir is None:
        if others_may_write(cache_folder()):
            say(f"warning: others may write into the cache {cache_folder()}, so no compiled "
                "program is taken from it: chmod go-w it, or set SNGAN_JAX_CACHE to a folder of "
                "your own")
            return
        folder = cache_folder() / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            say(f"warning: the cache {folder} cannot be created ({error.strerror}), so "
                "compiled programs are not kept: set SNGAN_JAX_CACHE to a folder of your own")
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@functools.cache
def silence_orbax() -> None:
    """Silences Orbax, which logs every operation.

    For a checkpoint that cannot be written or read, its threads and tasks print tracebacks, but a
    sentence is enough.
    """
    from logging import CRITICAL, getLogger

    from absl import logging

    def unraisable(hooked: sys.UnraisableHookArgs) -> None:
        if not re.search("Event loop is closed|RESOURCE_EXHAUSTED", str(hooked.exc_value)):
            old(hooked)

    old, sys.unraisablehook = sys.unraisablehook, unraisable
    logging.set_verbosity(logging.WARNING)
    getLogger("absl").addFilter(lambda record: not re.search(
        "_SignalingThread|RESOURCE_EXHAUSTED", record.getMessage()))
    getLogger("asyncio").setLevel(CRITICAL)
