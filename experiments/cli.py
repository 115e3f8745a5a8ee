"""What the programs of this folder share: their flags and how they end.

Bad input ends in one sentence on standard error and exit status 2, never in a traceback.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.run.config import FIELDS
from sngan_jax.run.validate import unknown_field

BAD_INPUT = 2


def define_config() -> None:
    """Defines --config=FILE[:ARGUMENT] and --config.FIELD=VALUE."""
    config_flags.DEFINE_config_file(
        "config", None, "A config file, as experiments/configs/digits.py[:argument].",
        lock_config=True)


def keep_compiled_programs() -> None:
    """Makes a second start of the same program read what the first one compiled.

    $JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=false turns it
    off.
    """
    # JAX adds its options to the config at run time.
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def run(main: Callable[[], int | None], *, required: Sequence[str] = ()) -> None:
    """Parses the flags, calls `main()` and exits with what it returns (None: 0)."""
    def guarded(argv: list[str]) -> int | None:
        logging.set_verbosity(logging.WARNING)  # Orbax tells all it does
        keep_compiled_programs()
        if len(argv) > 1:
            return _fail(f"unexpected argument {argv[1]!r}: every option is --name=value")
        try:
            for name in required:
                value = flags.FLAGS[name].value
                if not value or (not isinstance(value, str) and not value.keys()):
                    return _fail(f"--{name} is missing: {flags.FLAGS[name].help}")
        except OSError:  # ml_collections reports an unreadable config when it is looked at
            return _unreadable_config()
        try:
            return main()
        except UserError as error:
            return _fail(str(error), error.status)
        except KeyboardInterrupt:
            return _fail("interrupted", 130)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(argv))
    except flags.Error as error:
        # A sentence of a config file's own arrives inside the text of a traceback.
        own = re.search(r"UserError: (.*)", str(error))
        sys.exit(_fail(own.group(1) if own else _one_line(error)))
    except AttributeError:  # ml_collections: an unknown field of the config
        for name in re.findall(r"--(?:no)?config\.([\w.]+)", " ".join(argv)):
            if name not in FIELDS:
                sys.exit(_fail(unknown_field(name)))
        raise
    except (OSError, SyntaxError):
        sys.exit(_unreadable_config())


def _unreadable_config() -> int:
    given = next((a for a in reversed(sys.argv) if a.startswith("--config=")), "--config")
    return _fail(f"{given} cannot be read: give the path of a config file, as "
                 "--config=experiments/configs/digits.py")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def _fail(sentence: str, status: int = BAD_INPUT) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return status
