"""Reads a command line of the documentation with its program's own flags, and runs nothing.

    python -m tests.commands "sngan sample --workdir=runs/digits"

The program's flags and config are read, nothing more. If the program would refuse the command, its
message is printed and the exit status is 1.
"""

import importlib
import shlex
import sys

from experiments import cli
from experiments.__main__ import PROGRAMS
from experiments.read_config import read_config
from sngan_jax.base.errors import UserError
from sngan_jax.metrics.scores import check_names


def words_of(command):
    """(module, arguments) of `sngan NAME …`, `experiments.NAME …` or `tests.NAME …`."""
    first, *words = shlex.split(command)
    if first == cli.COMMAND:
        if words[0] not in PROGRAMS:
            raise UserError(f"there is no program {words[0]}")
        first = f"experiments.{words.pop(0).replace('-', '_')}"
    module = importlib.import_module(first)
    if hasattr(module, "PROGRAMS"):
        module = importlib.import_module(f"{first}.{words.pop(0)}")
    return module, words


def check(command):
    """Raises the program's error, if any."""
    module, words = words_of(command)
    if not hasattr(module, "arguments"):
        return  # a program of the tests
    options = cli.parse(module.arguments, "", module.__name__, words)
    if options is None:
        return
    if getattr(options, "config", None):
        read_config(options.config, options.changes, 1)
    if getattr(options, "metrics", None):
        check_names(options.metrics, options.extractor)


if __name__ == "__main__":
    try:
        check(sys.argv[1])
    except (UserError, ImportError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
