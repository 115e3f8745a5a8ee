"""Runs that are made longer, checked against the step's own schedule."""

import itertools

import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.run.config import defaults
from sngan_jax.run.extension import may_continue, why_not
from sngan_jax.run.workdir import check_workdir, open_workdir
from sngan_jax.step.recipe import linear_decay


@pytest.mark.parametrize("start", [0.0, 0.5, 0.9, 1.0])
def test_a_longer_run_goes_on_where_the_learning_rates_were_the_same(start):
    for old, new, at in itertools.product((4, 10), (4, 6, 20), (0, 1, 3, 5, 6, 9, 10)):
        if at > old:
            continue
        configs = [{**defaults(), "iterations": n, "lr_decay_start": start} for n in (old, new)]
        past = np.arange(at)
        rates = [np.asarray(linear_decay(n, start)(past)) for n in (old, new)]
        same = old == new or np.array_equal(*rates)
        # Two schedules that both fall are taken for different, equal though they may be so far.
        if may_continue(*configs, at):
            assert same and at <= new
        elif at > 1 and old != new:
            assert not same or at > new


def test_what_else_differs_needs_the_flag(tmp_path):
    old = {**defaults(), "iterations": 10, "lr_decay_start": 0.5}
    assert may_continue(old, {**old, "iterations": 20}, 5)
    assert not may_continue(old, {**old, "iterations": 20, "seed": 1}, 5)
    assert not may_continue(old, {**old, "iterations": 20}, 8)
    assert "falls from iteration 5 on" in why_not(old, {**old, "iterations": 20}, 8)
    assert "is of iteration 8" in why_not(old, {**old, "iterations": 7}, 8)
    assert why_not(old, {**old, "seed": 1}, 8) == ""
    open_workdir(tmp_path, old)
    (tmp_path / "checkpoints" / "8").mkdir(parents=True)
    with pytest.raises(UserError, match=r"iterations: 10 there, 20 here; .*falls from iteration 5"):
        check_workdir(tmp_path, {**old, "iterations": 20})
    check_workdir(tmp_path, {**old, "iterations": 20}, accept_changes=True)
