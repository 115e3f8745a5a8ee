"""A run that is made longer or shorter: where that changes nothing of what is trained already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def may_continue(old: Mapping[str, Any], new: Mapping[str, Any], iteration: int) -> bool:
    """Whether a run of config `new` would be at `iteration` what the run of `old` is there.

    It is where they differ in their length only, and neither's learning rate has begun to fall.
    """
    return _only_longer(old, new) and iteration <= new["iterations"] and (
        iteration - 1 <= min(_falls_from(old), _falls_from(new)))


def why_not(old: Mapping[str, Any], new: Mapping[str, Any], iteration: int) -> str:
    """The reason, as an addition to a sentence; empty where the configs differ in more."""
    if not _only_longer(old, new):
        return ""
    if iteration > new["iterations"]:
        return f"; its checkpoint is of iteration {iteration:,}"
    first = min(_falls_from(old), _falls_from(new))
    return (f"; its checkpoint is of iteration {iteration:,}, and the learning rate falls from "
            f"iteration {first:,.0f} on in one of them (config.lr_decay_start is "
            f"{new['lr_decay_start']:g})")


def _only_longer(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return {**old, "iterations": 0} == {**new, "iterations": 0}


def _falls_from(config: Mapping[str, Any]) -> float:
    """The last iteration with the whole learning rate (`step.recipe.linear_decay`)."""
    return config["lr_decay_start"] * config["iterations"]
