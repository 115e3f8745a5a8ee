"""Protocols by name, and their numbers of images."""

import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.metrics.protocol import CONVENTIONS, PROTOCOLS, protocol_of


def test_the_papers_numbers():
    paper = protocol_of("paper")
    assert (paper.split, paper.num_real, paper.num_fake, paper.num_score, paper.splits) == (
        "test", 10_000, 5_000, 50_000, 10)
    assert paper.fakes_for(["fid", "kid"]) == 5_000
    assert paper.fakes_for(["fid", "is"]) == 50_000
    assert PROTOCOLS["50k"].split is None and PROTOCOLS["50k"].num_real == 0


def test_ones_own_numbers():
    free = protocol_of("free", 7, 9, 3)
    assert (free.num_real, free.num_fake, free.num_score, free.splits) == (7, 9, 9, 3)
    assert protocol_of("free").fakes_for(["fid"]) == 0
    assert protocol_of("free", default_fake=5).num_fake == 5


@pytest.mark.parametrize(("name", "numbers", "message"), [
    ("papers", {}, "no protocol 'papers': there are paper, 50k and free"),
    ("paper", {"num_fake": 10}, "leave num_fake out, or use the protocol free"),
    ("free", {"num_real": -1}, "num_real is -1"), ("free", {"splits": 0}, "at least 1")])
def test_what_cannot_be(name, numbers, message):
    with pytest.raises(UserError, match=message):
        protocol_of(name, **numbers)


def test_conventions_are_what_the_programs_do():
    """pytorch-fid 0.3.0, torch-fidelity 0.4.0, clean-fid 0.1.35, by their source."""
    assert {name: one.resize for name, one in CONVENTIONS.items()} == {
        "pytorch-fid": "half_pixel", "torch-fidelity": "tf1", "clean-fid": "bicubic"}
    assert {one.reading for one in CONVENTIONS.values()} == {("squeeze", "drop", True)}
