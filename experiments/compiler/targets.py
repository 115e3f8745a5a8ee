"""The targets that a config can be compiled for, by their names on the command line."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sngan_jax.base.errors import UserError

from .cards import CARDS, Card
from .tpus import CHIPS, Topology, parse_topology, tpu_devices

_CARDS = re.compile(r"(?P<card>[a-z]+\d+)(?:x(?P<devices>\d+))?")


class Cards(NamedTuple):
    """Identical NVIDIA cards in one host."""

    chip: str
    devices: int
    hosts: int = 1

    @property
    def card(self) -> Card:
        """The type of the cards."""
        return CARDS[self.chip]

    @property
    def name(self) -> str:
        """The name on the command line, h100 or h100x8."""
        return self.chip if self.devices == 1 else f"{self.chip}x{self.devices}"

    @property
    def memory(self) -> int:
        """Bytes of memory of one card."""
        return self.card.memory


Target = Topology | Cards


def parse_target(text: str) -> Target:
    """The target 'v3-8', 'v3:2x2x1', 'h100' or 'h100x8'; UserError for an unknown one."""
    text = text.strip().lower()
    found = _CARDS.fullmatch(text)
    if found and found["card"] in CARDS:
        devices = int(found["devices"] or 1)
        if not 1 <= devices <= 16:
            raise UserError(f"--target={text}: one host has 1 to 16 cards")
        return Cards(found["card"], devices)
    if re.split("[:-]", text)[0] in CHIPS:
        return parse_topology(text)
    raise UserError(f"--target={text}: no such device; there are the TPUs {', '.join(CHIPS)}, such "
                    f"as v5e-8 or v3:2x2x1, and the NVIDIA cards {', '.join(CARDS)}, several "
                    "in one host as h100x8")


def devices_of(target: Target) -> Sequence[Any]:
    """JAX's devices of a target, from a compiler, without chips behind them.

    Raises:
      UserError: if the compiler is not installed, or does not know the target.
    """
    return tpu_devices(target) if isinstance(target, Topology) else _card_devices(target)


def _card_devices(target: Cards) -> list[Any]:
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        raise UserError("the NVIDIA compiler is not installed: in a separate environment (some "
                        "GiB), pip install 'sngan_jax[gpu-check]'")
    from jax.experimental import topologies

    try:
        # Processes per host x hosts x devices.
        return list(topologies.get_topology_desc(
            platform="cuda", target_config=target.card.text,
            topology=f"1x1x{target.devices}").devices)
    except Exception as error:  # whatever the plugin raises
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the NVIDIA compiler does not accept {target.name} ({reason})") from error
