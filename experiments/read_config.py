"""A config from a text on the command line: NAME or FILE, [:ARGUMENT], and changed fields."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from sngan_jax.base.errors import UserError, one_line
from sngan_jax.run.validate import validate

from .fields import value_of

FOLDER = Path(__file__).parent / "configs"
_PACKAGE = f"{__package__}.configs"
# Modules in the folder that are not configs.
_SHARED = ("__init__", "paper")


def packaged() -> list[str]:
    """The names of the package's configs."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in _SHARED)


def read_config(text: str, changes: Iterable[str], device_count: int) -> ConfigDict:
    """`load_config`, followed by `validate` for this number of devices."""
    config = load_config(text, changes)
    validate(config, device_count)
    return config


def load_config(text: str, changes: Iterable[str] = ()) -> ConfigDict:
    """The config that a text names, with changes FIELD=VALUE.

    A name denotes a config of the package; a path denotes a file. For its own relative imports, the
    file counts as part of the package's folder, wherever it is: `from .paper import apply_words`.

    Raises:
      UserError: for a config that does not exist; a file that is not Python, fails, or has no
        `get_config`; or a change of an unknown field, or to an invalid value.
    """
    place, colon, argument = text.partition(":")
    if re.fullmatch(r"\w+", place):
        file = FOLDER / f"{place}.py"
        module = _of_package(text, place)
    else:
        file = Path(place).expanduser()
        module = _of_file(text, file)
    config = _made(text, module, file, colon, argument)
    for change in changes:
        name, value = value_of(change)
        try:
            config[name] = value
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"config.{name} cannot be changed to {value!r} in {text}: "
                            f"{one_line(error)}") from error
    return config


def _of_package(text: str, name: str) -> ModuleType:
    if name in packaged():
        return importlib.import_module(f"{_PACKAGE}.{name}")
    near = difflib.get_close_matches(name, packaged(), 1)
    raise UserError(f"--config={text}: there is no config {name!r}"
                    + (f", did you mean {near[0]}?" if near else ".")
                    + f" The package has {', '.join(packaged())}; give a file by its path, such as "
                    "./my_config.py")


def _of_file(text: str, file: Path) -> ModuleType:
    if not file.is_file():
        if file.is_dir():
            raise UserError(f"--config={text}: {file} is a folder: give a config file in it")
        known = f"--config={file.stem} is the package's own, which needs no path" if (
            file.stem in packaged()) else f"the package's own are {', '.join(packaged())}"
        raise UserError(f"--config={text}: there is no file {file}; {known}")
    if file.suffix != ".py":
        raise UserError(f"--config={text}: {file} is not a Python file: its name must end in .py")
    if file.resolve() in (FOLDER / f"{name}.py" for name in packaged()):
        return importlib.import_module(f"{_PACKAGE}.{file.stem}")
    spec = importlib.util.spec_from_file_location(f"{_PACKAGE}.given_{file.stem}", file)
    assert spec is not None and spec.loader is not None  # because the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # needed by dataclasses
    with _sentences(text, file):
        spec.loader.exec_module(module)
    return module


def _made(text: str, module: ModuleType, file: Path, colon: str, argument: str) -> ConfigDict:
    """The config that the module's `get_config` makes from the argument."""
    function = getattr(module, "get_config", None)
    if not callable(function):
        raise UserError(f"--config={text}: {file} has no function get_config: a config file "
                        "defines one that returns a ConfigDict")
    with _sentences(text, file):
        if colon:
            try:
                inspect.signature(function).bind(argument)
            except TypeError:
                raise UserError(f"--config={text}: get_config of {file} takes no argument: leave "
                                f"out :{argument}") from None
        made = function(argument) if colon else function()
    if not isinstance(made, ConfigDict | Mapping):
        raise UserError(f"--config={text}: get_config of {file} returns {type(made).__name__}: it "
                        "must return an ml_collections.ConfigDict")
    return made if isinstance(made, ConfigDict) else ConfigDict(dict(made))


@contextlib.contextmanager
def _sentences(text: str, file: Path) -> Iterator[None]:
    """Turns any exception of a user's file into a UserError with file, line and reason."""
    def is_own(name: str | None) -> bool:
        return name is not None and Path(name).absolute() == file.absolute()

    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError) and is_own(error.filename):
            line, why = error.lineno, error.msg
        else:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                     if is_own(frame.filename)]
            line, why = (lines or [None])[-1], f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"--config={text}: {file} fails" + (f" in line {line}" if line else "")
                        + f" ({why}): correct it, or use one of the package's (sngan train --help)"
                        ) from error
