"""The TPUs that a config can be compiled for: memory, links, and the names of their slices.

Source: "System architecture" and the page of each generation, https://cloud.google.com/tpu/docs
(v2, v3, v4, v5e, v5p, v6e), as published in 2025.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any, NamedTuple

from sngan_jax.base.errors import UserError

from .. import accelerators

GIB = 2**30


class Chip(NamedTuple):
    """One generation of TPUs.

    hbm_bytes: memory that one JAX device can use. A chip of v2 and v3 is two devices, each with
      half of its memory; from v4 on a chip is one device.
    link_bytes: bytes per second, of all links of a chip to its neighbours together.
    devices: JAX devices per chip.
    host_chips: largest number of chips on one host.
    dimensions: dimensions of the torus.
    """

    hbm_bytes: int
    link_bytes: float
    devices: int
    host_chips: int
    dimensions: int


CHIPS = {
    "v2": Chip(8 * GIB, 62e9, 2, 4, 2),  # 16 GiB and 496 Gbit/s a chip
    "v3": Chip(16 * GIB, 82e9, 2, 4, 2),  # 32 GiB, 656 Gbit/s
    "v4": Chip(32 * GIB, 300e9, 1, 4, 3),  # 32 GiB, 2,400 Gbit/s
    "v5e": Chip(16 * GIB, 200e9, 1, 8, 2),  # 16 GiB, 1,600 Gbit/s
    "v5p": Chip(95 * GIB, 600e9, 1, 4, 3),  # 95 GiB, 4,800 Gbit/s
    "v6e": Chip(32 * GIB, 448e9, 1, 8, 2),  # 32 GiB, 3,584 Gbit/s
}

# The names under which Google Cloud sells slices. v2 to v4 and v5p count cores, two per chip; v5e
# and v6e count chips.
_FLAT = {"4": "2x2", "8": "2x4", "16": "4x4", "32": "4x8", "64": "8x8", "128": "8x16",
         "256": "16x16"}
_SLICES = {
    "v2": {"8": "2x2x1", "32": "4x4x1", "128": "8x8x1", "256": "8x16x1", "512": "16x16x1"},
    "v3": {"8": "2x2x1", "32": "4x4x1", "128": "8x8x1", "256": "8x16x1", "512": "16x16x1"},
    "v4": {"8": "2x2x1", "16": "2x2x2", "32": "2x2x4", "64": "2x4x4", "128": "4x4x4",
           "256": "4x4x8", "512": "4x8x8"},
    "v5e": _FLAT,
    "v5p": {"8": "2x2x1", "16": "2x2x2", "32": "2x2x4", "64": "2x4x4", "128": "4x4x4",
            "256": "4x4x8", "512": "4x8x8"},
    "v6e": _FLAT,
}


class Topology(NamedTuple):
    """A slice: its generation and the number of chips in each direction."""

    chip: str
    sides: tuple[int, ...]

    @property
    def name(self) -> str:
        """The compiler's name, v3:2x2x1."""
        return f"{self.chip}:{'x'.join(map(str, self.sides))}"

    @property
    def chips(self) -> int:
        """The number of chips."""
        return math.prod(self.sides)

    @property
    def devices(self) -> int:
        """The number of JAX devices."""
        return self.chips * CHIPS[self.chip].devices

    @property
    def memory(self) -> int:
        """Bytes of memory of one JAX device."""
        return CHIPS[self.chip].hbm_bytes

    @property
    def hosts(self) -> int:
        """The number of hosts with these chips."""
        return -(-self.chips // CHIPS[self.chip].host_chips)

    @property
    def hops(self) -> int:
        """The number of links from a chip to the farthest one, in a torus."""
        return sum(side // 2 for side in self.sides)


def tpu_devices(topology: Topology) -> list[Any]:
    """The devices of a slice, from a compiler, without chips.

    Raises:
      UserError: without libtpu, or if it does not know the topology.
    """
    accelerators.show()
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("the TPU compiler is not installed: pip install 'sngan_jax[tpu-check]'")
    from jax.experimental import topologies

    # On a v4 the compiler has two devices per chip by default; JAX has one there, with both cores.
    options = {"chip_config_name": "megacore"} if topology.chip == "v4" else {}
    try:
        return list(topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **options).devices)
    except Exception as error:  # whatever libtpu raises
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the TPU compiler does not know the topology {topology.name} ({reason}): "
                        "try another shape, such as v3:2x2x1 or v5e:2x4") from error


def parse_topology(text: str) -> Topology:
    """The slice named 'v3:2x2x1' or, commercially, 'v3-8'; UserError for an unknown one."""
    chip, separator, shape = text.partition(":" if ":" in text else "-")
    known = f"there are {', '.join(CHIPS)}"
    if chip not in CHIPS or not separator:
        raise UserError(f"--target={text}: no such TPU; {known}, such as v3-8 or v3:2x2x1")
    if separator == "-":
        if shape not in _SLICES[chip]:
            raise UserError(f"--target={text}: {chip} is sold as "
                            + ", ".join(f"{chip}-{n}" for n in _SLICES[chip])
                            + f"; other shapes are written as {chip}:"
                            + next(iter(_SLICES[chip].values())))
        shape = _SLICES[chip][shape]
    sides = shape.split("x")
    if not all(side.isdecimal() and int(side) for side in sides):
        raise UserError(f"--target={text}: {shape!r} is not a shape such as 2x2x1")
    topology = Topology(chip, tuple(map(int, sides)))
    if topology.chips > 256:
        raise UserError(f"--target={text} has {topology.chips} chips: at most 256 are supported")
    return topology
