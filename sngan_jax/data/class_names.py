"""The names of a data set's classes."""

from __future__ import annotations

from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import DataError
from sngan_jax.data.prepared import prepared_folder


def class_names(spec: str, num_classes: int | None = None, data_dir: str | None = None
                ) -> tuple[str, ...]:
    """The names of the classes in order; () if they have only numbers.

    For `folder:` they are the names of the sub-folders, for `tfds:` the names in the label feature.

    Args:
      spec, data_dir: as for `data.load`.
      num_classes: the number of classes in the set, if it is known.
    """
    kind, _, place = spec.partition(":")
    names: list[str] = []
    try:
        if kind == "folder":
            names = sorted(path.name for path in Path(place).expanduser().iterdir()
                           if path.is_dir() and not path.name.startswith("."))
        elif kind == "tfds":
            files = [file.read_text().split("\n")
                     for file in prepared_folder(place, data_dir).glob("*.labels.txt")]
            fitting = [lines for lines in ([x for x in lines if x] for lines in files)
                       if num_classes in (None, len(lines))]
            names = fitting[0] if len(fitting) == 1 else []
    except (OSError, DataError):
        pass  # the set no longer exists
    return tuple(names) if num_classes in (None, len(names)) else ()


def class_number(text: str, names: tuple[str, ...], num_classes: int, flag: str) -> int:
    """The class that a name or a number stands for; if both fit, the name wins.

    Args:
      names: the names of the classes, or ().
      flag: name of the program's flag, for errors.

    Raises:
      UserError: if there is no such class.
    """
    if not num_classes:
        raise UserError(f"--{flag} is {text}, but this model is unconditional: leave the flag "
                        "out, or train one with :conditional")
    word = text.strip()
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < num_classes:
        return int(word)
    there = f"0 to {num_classes - 1}"
    if names:
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        there += f", called {shown}"
    raise UserError(f"--{flag} is {text}, but the classes of this model are {there}")
