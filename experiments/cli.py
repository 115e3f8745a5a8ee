"""The command line of the programs in this folder: how it is read, and how a program ends.

A program is a module with `arguments(parser)`, which adds its flags, and `main(options)`. Command
lines have no global state: a process can run any number of programs, under any name of this
package. Bad input ends with one sentence on standard error and exit status 2, never in a traceback.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sngan_jax.base.errors import UserError, one_line
from sngan_jax.base.extras import missing
from sngan_jax.base.files import cannot_use
from sngan_jax.base.output import make_steady, say

from .process import keep_compiled_programs, silence_orbax

BAD_INPUT = 2
# Errors of a path that the user named, wherever a program looks at it.
_OF_PATHS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
COMMAND = "sngan"


def command(name: str) -> list[str]:
    """The command that starts a program of this package in its own process, from any folder."""
    package = __package__ or ""
    # A top-level package would be found in the current folder, which elsewhere may hold anything.
    safe = ["-P"] if "." in package else []
    return [sys.executable, *safe, "-m", f"{package}.{name.replace('-', '_')}"]


def start(programs: Mapping[str, str], argv: Sequence[str], about: str, prefix: str = "",
          package: str = __package__ or "") -> int:
    """Runs the program that the first word names; returns its exit status.

    Args:
      programs: {name: short description}.
      about: text at the start of `--help`.
      prefix: prefix of the names, such as `bench `.
      package: the package with the modules.
    """
    make_steady()
    whole = f"{COMMAND} {prefix}".strip()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(f"{about.strip()}\n\nusage: {whole} PROGRAM [--FLAG=VALUE …]\n")
        width = max(map(len, programs))
        print("\n".join(f"  {name.ljust(width)}  {does}" for name, does in programs.items()))
        print(f"\n{whole} PROGRAM --help lists the flags of a program.")
        if not prefix:
            print(f"The configs and launch scripts are in {Path(__file__).parent}.")
        return 0
    name, *rest = argv
    if name == "--version":
        from sngan_jax import __version__

        print(f"sngan_jax {__version__}")
        return 0
    if name not in programs:
        there = f"{whole} has {', '.join(programs)}"
        if name.startswith("-"):
            return _fail(f"the program comes first, before {name}: {there}")
        near = difflib.get_close_matches(name.replace("_", "-"), programs, 1)
        return _fail(f"there is no program {name!r}"
                     + (f", did you mean {whole} {near[0]}?" if near else f": {there}"))
    try:
        module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
        if hasattr(module, "PROGRAMS"):
            return start(module.PROGRAMS, rest, module.__doc__ or "", f"{prefix}{name} ",
                         module.__name__)
    except ModuleNotFoundError as error:
        return _fail(_missing_extra(error))
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return run(module.main, module.arguments, module.__doc__ or "", f"{prefix}{name}", rest)


def run(main: Callable[[argparse.Namespace], int | None],
        arguments: Callable[[Any], None], about: str, name: str,
        argv: Sequence[str] | None = None) -> int:
    """Reads a program's command line and runs it; returns its exit status (0 for None).

    Args:
      main: takes the options. They include `command`, the whole command line; `given`, the names of
        those that it contains; and, with a `--config`, `changes`, the list of FIELD=VALUE.
      about: text at the start of `--help`.
      argv: arguments without the program's name; None for the process's arguments.
    """
    argv = sys.argv[1:] if argv is None else argv
    make_steady()
    try:
        options = parse(arguments, about, name, argv)
        if options is None:
            return 0
        silence_orbax()
        keep_compiled_programs()
        return main(options) or 0
    except UserError as error:
        return _fail(str(error), error.status)
    except ModuleNotFoundError as error:
        return _fail(_missing_extra(error))
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except OSError as error:
        if error.filename is None or error.errno not in _OF_PATHS:
            raise
        return _fail(cannot_use(error))
    except (MemoryError, RuntimeError, AssertionError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return _fail(_no_memory(error))
        asked = os.environ.get("JAX_PLATFORMS")
        if not asked or not _is_of_backends(error):
            raise
        reason = (one_line(error) if str(error) else
                  "JAX finds no such device, or its plugin is not installed")
        return _fail(f"JAX_PLATFORMS={asked} is not available ({reason}): set it to another, such "
                     "as cpu, or unset it")


def _is_of_backends(error: Exception) -> bool:
    """Whether an error means that JAX found no device; a missing plugin gives an AssertionError."""
    frames = traceback.extract_tb(error.__traceback__)
    return "Unable to initialize backend" in str(error) or (
        isinstance(error, AssertionError) and frames[-1].name == "backends")


def _no_memory(error: Exception) -> str:
    """The sentence about an allocation that failed, on this machine or on a device."""
    return (f"there is not enough memory ({one_line(error)}): choose smaller "
            "batches (--config.batch_size, --config.generator_batch_size, --config.accumulate=2; "
            "in other programs --batch-size or --batch) or a narrower network. A run continues "
            "from its last checkpoint")


def parse(arguments: Callable[[Any], None], about: str, name: str, argv: Sequence[str]
          ) -> argparse.Namespace | None:
    """The options of a command line; None if `--help` was requested and printed.

    Raises:
      UserError: for a flag that the program does not have, or an invalid value.
    """
    parser = Parser(prog=f"{COMMAND} {name}", description=about, allow_abbrev=False,
                    add_help=False, formatter_class=_Help,
                    usage=f"{COMMAND} {name} [--FLAG=VALUE …]")
    parser.add_argument("-h", "--help", action="store_true", help="print this and exit")
    arguments(parser)
    takes_config = "--config" in parser.flags
    words, changes = _changes(list(argv)) if takes_config else (list(argv), [])
    words = [_dashed(word) for word in words]
    if {"-h", "--help"} & {*words}:
        if takes_config:
            parser.epilog = _fields_help(words)
        parser.print_help()
        return None
    options, rest = parser.parse_known_args(words)
    if rest:
        raise UserError(_unknown(rest[0], parser.flags, takes_config))
    for action in parser.required:
        if not getattr(options, action.dest):
            raise UserError(f"{action.option_strings[0]} is missing: {action.help}")
    if takes_config:
        options.changes = [*options.set, *changes]
    options.command = shlex.join([COMMAND, *name.split(), *argv])
    present = {word.partition("=")[0] for word in words}
    options.given = {action.dest for action in parser.actions
                     if present & {*action.option_strings}}
    return options


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are sentences; `required` options must not be empty either."""

    def __init__(self, **options: Any) -> None:
        self.actions: list[argparse.Action] = []
        self.required: list[argparse.Action] = []
        super().__init__(**options)

    @property
    def flags(self) -> list[str]:
        """All flags, as they are written."""
        return [flag for action in self.actions for flag in action.option_strings]

    def add_argument(self, *names: str, required: bool = False, **options: Any  # type: ignore[override]
                     ) -> argparse.Action:
        """Parses like argparse, with our own error for a missing argument, and with ~ in paths."""
        if str(options.get("metavar")).startswith(("FOLDER", "PATH", "FILE")):
            options.setdefault("type", os.path.expanduser)  # a shell leaves --workdir=~/x as it is
        action = super().add_argument(*names, **options)
        self.actions.append(action)
        if required:
            self.required.append(action)
        return action

    def add_switch(self, flag: str, help: str) -> None:
        """A flag that is off unless given, as --dry-run or --dry-run=true."""
        self.add_argument(flag, type=switch, nargs="?", const=True, default=False, help=help,
                          metavar="true|false")

    def add_config(self, *, required: bool = True, default: str | None = None) -> None:
        """--config=NAME[:ARGUMENT], with --config.FIELD=VALUE and, in older commands, --set=…"""
        from .read_config import packaged

        self.add_argument(
            "--config", required=required, default=default, metavar="NAME[:ARGUMENT]",
            help=f"a config of the package ({', '.join(packaged())}), or a file, such as "
            "my/config.py; with an argument after a colon, as in digits:conditional"
            + (f" (otherwise {default})" if default else ""))
        self.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                          help="older form of --config.FIELD=VALUE, which changes a field")

    def error(self, message: str) -> NoReturn:
        """UserError with argparse's message as a sentence."""
        flag, _, said = message.removeprefix("argument ").partition(": ")
        flag = flag.split("/")[0]
        if said.startswith("expected"):
            raise UserError(f"{flag} has no value: write {flag}=VALUE")
        raise UserError(f"{flag} {said}" if said else message)


class _Help(argparse.RawDescriptionHelpFormatter):
    """A help formatter whose first column fits the names of the flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


# Kinds of values.

def whole(low: int | None = None, high: int | None = None) -> Callable[[str], int]:
    """A flag type: a whole number, not below `low` nor above `high`."""
    def convert(text: str) -> int:
        if not re.fullmatch(r"\s*[-+]?\d+\s*", text, re.ASCII):
            raise argparse.ArgumentTypeError(f"is {text!r}: it must be a whole number"
                                             + ("" if low is None else f" of at least {low}"))
        if low is not None and int(text) < low:
            raise argparse.ArgumentTypeError(f"is {int(text)}: it must be at least {low}")
        if high is not None and int(text) > high:
            raise argparse.ArgumentTypeError(f"is {int(text)}: it must be at most {high}")
        return int(text)
    return convert


seed = whole(0, 2**31 - 1)  # the range of config.seed


def one_of(there: Iterable[str]) -> Callable[[str], str]:
    """A flag type: one of some names."""
    def convert(text: str) -> str:
        known = list(there)
        if text not in known:
            near = difflib.get_close_matches(text, known, 1)
            raise argparse.ArgumentTypeError(
                f"is {text!r}" + (f", did you mean {near[0]}? There are " if near
                                  else ": there are ") + ", ".join(known))
        return text
    return convert


def names(text: str) -> list[str]:
    """A flag type: names separated by commas, at least one."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("is empty: give one or more, or leave it out")
    return found


def wholes(low: int) -> Callable[[str], list[int]]:
    """A flag type: whole numbers separated by commas."""
    def convert(text: str) -> list[int]:
        return [whole(low)(word) for word in names(text)]
    return convert


def switch(text: str) -> bool:
    """A flag type: true or false."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"is {text!r}: it must be true or false")
    return text.lower() == "true"


# Typing errors.

def _dashed(word: str) -> str:
    """Replaces --num_fake=5 by --num-fake=5: field names have underscores, flag names dashes."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _changes(words: list[str]) -> tuple[list[str], list[str]]:
    """(words without --config.FIELD=VALUE, [FIELD=VALUE …]); the value may be the next word."""
    from sngan_jax.run.config import FIELDS

    left, changes = [], []
    while words:
        word = words.pop(0)
        if not re.match(r"--?config\.", word):
            left.append(word)
            continue
        change = word.partition(".")[2]
        if "=" not in change:
            is_switch = change in FIELDS and isinstance(FIELDS[change].default, bool)
            if words and not words[0].startswith("-"):
                change += "=" + words.pop(0)
            elif is_switch:
                change += "=true"
            elif change in FIELDS:
                raise UserError(f"--config.{change} has no value: write --config.{change}=VALUE")
        changes.append(change)
    return left, changes


def _unknown(word: str, flags: Collection[str], takes_config: bool) -> str:
    """The error for a word that is not a flag."""
    name = word.partition("=")[0]
    if not word.startswith("-"):
        return f"unexpected argument {word!r}: every option is --NAME=VALUE"
    long = "--" + name.lstrip("-")
    if long in flags:
        return f"{name} needs two dashes: write {long}{word[len(name):]}"
    if takes_config:
        from sngan_jax.run.validate import likely_field

        if field := likely_field(name.lstrip("-").replace("-", "_"), 0.8):
            return f"{name} is not a flag: --config.{field}=VALUE changes the field of the config"
    near = difflib.get_close_matches(long, flags, 1, 0.7)
    return f"{name} is not a flag of this program" + (
        f", did you mean {near[0]}?" if near else ": --help lists its flags")


def _fields_help(words: Sequence[str]) -> str:
    """The fields, with the values of the last --config= among the words, or the paper's."""
    from sngan_jax.run.config import defaults

    from .fields import fields_help
    from .read_config import load_config

    given = [word.partition("=")[2] or following for word, following in zip(
        words, (*words[1:], ""), strict=True) if word.partition("=")[0] == "--config"]
    return (fields_help(load_config(given[-1]), f"--config={given[-1]}") if given else
            fields_help(defaults(), "the paper's standard CNN"))


def _missing_extra(error: ModuleNotFoundError) -> str:
    """The sentence about a module that is not installed; re-raises an error of our own."""
    sentence = missing(error)
    if sentence is None:
        raise error
    return sentence


def _fail(sentence: str, status: int = BAD_INPUT) -> int:
    say(f"error: {sentence}")
    return status
