"""Trained weights: those in the package, our own files, and files from other projects.

    run = sngan_jax.weights.load("digits")
    images = run.sample(np.full(64, 3), seed=0)    # 64 threes: uint8 (64, 8, 8, 1)

Each file has a card beside it, such as `digits.md`: data, command, commit, scores with protocol.
"""

from __future__ import annotations

from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.run.restore import RestoredRun
from sngan_jax.weights import npz
from sngan_jax.weights.trained import restored

__all__ = ["NAMES", "card", "load"]

_FOLDER = Path(__file__).parent
NAMES = tuple(sorted(file.stem for file in _FOLDER.glob("*.npz")))


def load(name: str) -> RestoredRun:
    """Loads networks by name, or from a file by `sngan export-weights`; downloads nothing.

    The result has `sample`, `images_of`, `generator`, `discriminator` and `state` like a run, but
    no optimizers.

    Args:
      name: one of NAMES, or the path of an `.npz`.

    Raises:
      UserError: for an unknown name, or a file that is missing, damaged or of another kind.
    """
    file = _FOLDER / f"{name}.npz" if name in NAMES else Path(name)
    if name not in NAMES and file.suffix != ".npz":
        raise UserError(f"there are no weights {name!r}: give one of {', '.join(NAMES)}, or the "
                        "path of an .npz from sngan export-weights")
    return restored(npz.read(file), str(file))


def card(name: str) -> str:
    """The card of one of NAMES: data, command, commit, scores; UserError for another name."""
    if name not in NAMES:
        raise UserError(f"there is no card for {name!r}: there are cards for {', '.join(NAMES)}")
    return (_FOLDER / f"{name}.md").read_text()
