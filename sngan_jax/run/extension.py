"""Changes to a run's length that would not have altered its training so far."""

from __future__ import annotations

from sngan_jax.base.types import JsonObject


def may_continue(old: JsonObject, new: JsonObject, iteration: int) -> bool:
    """Whether a run of config `new` would be in the same state at `iteration` as the run of `old`.

    It would if the configs differ only in length and neither's learning rate has begun to fall.
    """
    return _only_longer(old, new) and iteration <= new["iterations"] and (
        iteration - 1 <= min(_falls_from(old), _falls_from(new)))


def why_not(old: JsonObject, new: JsonObject, iteration: int) -> str:
    """The reason, to be appended to a sentence; empty if the configs differ in more than length."""
    if not _only_longer(old, new):
        return ""
    if iteration > new["iterations"]:
        return f"; its checkpoint is of iteration {iteration:,}"
    first = min(_falls_from(old), _falls_from(new))
    return (f"; its checkpoint is of iteration {iteration:,}, and in one of the two the "
            f"learning rate falls from iteration {first:,.0f} on (config.lr_decay_start is "
            f"{new['lr_decay_start']:g})")


def _only_longer(old: JsonObject, new: JsonObject) -> bool:
    return {**old, "iterations": 0} == {**new, "iterations": 0}


def _falls_from(config: JsonObject) -> float:
    """The last iteration with the full learning rate (`step.recipe.linear_decay`)."""
    return config["lr_decay_start"] * config["iterations"]
