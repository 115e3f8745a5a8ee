"""Protocols: how many images of which split a score is computed from. The numbers move the score.

Conventions: how other programs treat each image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import Reading


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Counts of images.

    Attributes:
      name: name of the protocol in a record.
      split: split of the real images; None for the one on which the run was trained.
      num_real: number of real images; 0 for the whole split.
      num_fake: number of fake images for every score but the Inception Score; 0 for all of them.
      num_score: number of fake images for the Inception Score.
      splits: number of parts over which the Inception Score is averaged.
      kid_subsets: number of subsets over which KID is averaged.
      kid_subset_size: images in each subset, or fewer if there are fewer (`kid.drawn`).
      convention: a key of CONVENTIONS, or ''.
    """

    name: str
    split: str | None
    num_real: int
    num_fake: int
    num_score: int
    splits: int = 10
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    convention: str = ""

    def fakes_for(self, metrics: Iterable[str]) -> int:
        """Number of generated images that these metrics need; 0 for all."""
        wanted = [self.num_score if m in ("is", "cs") else self.num_fake for m in metrics]
        return 0 if 0 in wanted else max(wanted)


# 'paper': Appendix B.1, which does not say which real images are meant; its figures are reproduced
# with the test split (docs/metrics.md). '50k': the field's later convention.
PROTOCOLS = {"paper": Protocol("paper", "test", 10_000, 5_000, 50_000),
             "50k": Protocol("50k", None, 0, 50_000, 50_000)}
FREE = "free"


class Convention(NamedTuple):
    """The treatment of an image by another program before Inception sees it.

    resize: one of `resize.RESIZES`; reading: how a picture becomes an image.
    """

    resize: str
    reading: Reading


# All three open a file with Pillow, `convert("RGB")`, and resize the whole image to 299 x 299,
# whatever its aspect ratio (pytorch-fid 0.3.0, torch-fidelity 0.4.0, clean-fid 0.1.35).
_OPENED = Reading("squeeze", "drop", plain=True)
CONVENTIONS = {"pytorch-fid": Convention("half_pixel", _OPENED),
               "torch-fidelity": Convention("tf1", _OPENED),
               "clean-fid": Convention("bicubic", _OPENED)}


def protocol_of(name: str, num_real: int | None = None, num_fake: int | None = None,
                splits: int | None = None, *, default_fake: int = 0) -> Protocol:
    """A protocol by name; 'free' takes your own numbers, and the others take none.

    Raises:
      UserError: for an unknown name, numbers with a named protocol, or impossible numbers.
    """
    numbers = {"num_real": num_real, "num_fake": num_fake, "splits": splits}
    given = {k: v for k, v in numbers.items() if v is not None}
    for key, value in given.items():
        least = 1 if key == "splits" else 0
        if value < least:
            raise UserError(f"{key} is {value}: it must be at least {least}")
    if name == FREE:
        fakes = default_fake if num_fake is None else num_fake
        return Protocol(FREE, None, num_real or 0, fakes, fakes, splits or 10)
    if name not in PROTOCOLS:
        raise UserError(f"there is no protocol {name!r}: there are {', '.join(PROTOCOLS)} and "
                        f"{FREE}, with your own numbers")
    if given:
        raise UserError(f"the protocol {name} fixes the numbers of images: "
                        f"leave {', '.join(given)} out, or use the protocol {FREE}")
    return PROTOCOLS[name]
