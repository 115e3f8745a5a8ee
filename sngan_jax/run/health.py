"""Numerical health of a run: NaN and infinity end it, a collapse brings a warning."""

from __future__ import annotations

import os

import jax
import numpy as np

from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say
from sngan_jax.base.types import PyTree
from sngan_jax.step.checks import names_of_checks, state_checks, update_checks
from sngan_jax.step.state import TrainState

# Log rows with D's loss at zero before the warning; the hinge loss reaches zero when D has won.
_LONG = 5
_ZERO = 1e-6
# From this iteration on, equal samples are a collapse; a G of small weights begins with them.
_TRAINED = 100


class Diverged(UserError):
    """NaN or infinity; the message says in which iteration and where first. Exit status 70."""

    status = os.EX_SOFTWARE
    rollbacks: int
    last_good: str


class Watch:
    """Checks what the step reports, and warns once of each kind of collapse.

    Args:
      state: the run's state, or its shapes, for the names of its leaves.
    """

    def __init__(self, state: TrainState):
        self._state = state
        self._pending: list[tuple[dict[str, jax.Array], list[str]]] = []
        self._zero_rows = 0
        self._warned: set[str] = set()

    def note(self, metrics: dict[str, PyTree]) -> None:
        """Takes the report out of a call's metrics, without waiting for it."""
        self._pending.append((metrics.pop("health"), sorted(metrics)))

    def check(self) -> None:
        """Raises Diverged if a report since the last check has a value that is not finite."""
        pending, self._pending = self._pending, []
        for report, names in zip(jax.device_get([report for report, _ in pending]),
                                 (names for _, names in pending), strict=True):
            if report["iteration"]:
                raise Diverged(f"in iteration {int(report['iteration']):,} the "
                               f"{self._where(report['flags'], names)}")

    def _where(self, flags: np.ndarray, metrics: list[str]) -> str:
        """The places of the first values that are not finite."""
        g, d = self._state.generator, self._state.discriminator
        own = {name: 0 for name in metrics if name.startswith("g_")}
        others = {name: 0 for name in metrics if name not in own and name != "learning_rate"}
        mine = names_of_checks(update_checks("generator", own, g.params))
        names = [*names_of_checks(state_checks(g, d)), *mine,
                 *names_of_checks(update_checks("discriminator", others, d.params))]
        raised = [name for name, flag in zip(names, flags, strict=True) if flag]
        for kind in ("parameter", "batch statistic"):  # of both players, before effects
            if found := [name for name in raised if name.startswith(kind)]:
                return _first(found)
        found = [name for name in raised if name in mine] or raised  # G's update comes first
        kind = found[0].split(" ")[0]
        words = _first([name for name in found if name.startswith(kind)])
        if kind == "metric" and "metric d_real" in found and "metric d_fake" not in found:
            words += ", on a batch of real images"
        return words

    def row(self, values: dict[str, float], sigmas: dict[str, float]) -> None:
        """Warns if the numbers of a logged iteration show a collapse."""
        self._zero_rows = self._zero_rows + 1 if abs(values["d_loss"]) < _ZERO else 0
        if self._zero_rows >= _LONG:
            self._warn("D's loss", f"D's loss has been zero in the last {_LONG} lines of the log: "
                       "D has won, and G learns nothing more; lower learning_rate, n_dis or "
                       "lipschitz")
        for name, sigma in sigmas.items():
            if sigma < _ZERO:
                self._warn("σ", f"σ of {name} is {sigma:.1e}: a weight of D has become zero")

    def images(self, images: np.ndarray, iteration: int) -> None:
        """Warns if all samples (uint8 (n, h, w, c)) are the same, but not in early iterations."""
        if iteration >= _TRAINED and len(images) > 1 and int(np.ptp(images, axis=0).max()) <= 1:
            self._warn("G", "all samples of G are the same image: it has collapsed")

    def _warn(self, kind: str, sentence: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            say(f"warning: {sentence}")


def _first(names: list[str]) -> str:
    """'x is not finite' for the first name, with the number of further names."""
    others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]}{others} is not finite"
