"""Parts of a split, written as TFDS writes them: `train[:5000]`, `test[10%:]`, `train[-100:]`."""

from __future__ import annotations

import re

from sngan_jax.data.image_set import DataError

_PATTERN = re.compile(r"(?P<name>\w+)(\[(?P<low>-?\d+%?)?:(?P<high>-?\d+%?)?\])?")


def parse_split(split: str) -> tuple[str, str | None, str | None]:
    """The name of a split and its bounds as written, None for those left open.

    Raises:
      DataError: for any other form.
    """
    match = _PATTERN.fullmatch(split)
    if match is None:
        raise DataError(f"the split {split!r} is not understood: write a name, such as train, or a "
                        "part of it, such as train[:5000], train[5000:10000] or train[50%:]")
    return match["name"], match["low"], match["high"]


def rows_of(split: str, n: int) -> slice:
    """Rows of the part among the `n` images of the whole split; at least one.

    Negative bounds count from the end, as in Python; percentages are rounded.

    Raises:
      DataError: for any other form, a bound out of range, or a part without images.
    """
    name, low, high = parse_split(split)
    start, stop = (_bound(text, n, default) for text, default in ((low, 0), (high, n)))
    if not 0 <= start < stop <= n:
        raise DataError(f"the split {split!r} is not a part of the {n:,} images of {name!r}: "
                        "choose bounds within them, the lower one first")
    return slice(start, stop)


def _bound(text: str | None, n: int, default: int) -> int:
    if text is None:
        return default
    bound = round(int(text[:-1]) * n / 100) if text.endswith("%") else int(text)
    return bound + n if text.startswith("-") else bound
