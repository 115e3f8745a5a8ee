"""What the programs of this folder share: their flags and how they end.

Bad input ends in one sentence on standard error and exit status 2, never in a traceback.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from sngan_jax.errors import UserError
from sngan_jax.train.validate import FIELDS, did_you_mean

BAD_INPUT = 2


def define_config() -> None:
    """Defines --config=FILE[:ARGUMENT] and --config.FIELD=VALUE."""
    config_flags.DEFINE_config_file(
        "config", None, "A config file, as experiments/configs/digits.py[:argument].",
        lock_config=True)


def run(main: Callable[[], int | None], *, required: Sequence[str] = ()) -> None:
    """Parses the flags, calls `main()` and exits with what it returns (None: 0)."""
    def guarded(argv: list[str]) -> int | None:
        logging.set_verbosity(logging.WARNING)  # Orbax tells all it does
        if len(argv) > 1:
            return _fail(f"unexpected argument {argv[1]!r}: every option is --name=value")
        for name in required:
            if not flags.FLAGS[name].value:
                return _fail(f"--{name} is missing: {flags.FLAGS[name].help}")
        try:
            return main()
        except UserError as error:
            return _fail(str(error))
        except KeyboardInterrupt:
            return _fail("interrupted", 130)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(argv))
    except flags.Error as error:
        sys.exit(_fail(_one_line(error)))
    except UserError as error:
        sys.exit(_fail(str(error)))
    except AttributeError as error:
        # ml_collections: an unknown field of the config.
        name = re.match(r"[\"']*([\w.]+)", str(error))
        name = name.group(1) if name else "?"
        sys.exit(_fail(f"config.{name} is not a field of this config{did_you_mean(name, FIELDS)}; "
                       "the fields are: " + ", ".join(sorted(FIELDS))))
    except (OSError, ImportError, SyntaxError) as error:
        given = next((a for a in argv if a.startswith("--config=")), "--config")
        sys.exit(_fail(f"{given} cannot be read ({_one_line(error)}): give the path of a config "
                       "file, as --config=experiments/configs/digits.py"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def _fail(sentence: str, status: int = BAD_INPUT) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return status
