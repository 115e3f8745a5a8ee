"""The progress of a run: a bar in a terminal, a line every `log_every` iterations elsewhere."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from pathlib import Path
from typing import IO

from ml_collections import ConfigDict
from tqdm import tqdm

from sngan_jax.run.extension import may_continue


class Progress(contextlib.AbstractContextManager):
    """Shows the iterations of a run and the time left; compilation is shown separately.

    Args:
      total: iterations of the whole run.
      first: number of iterations already done.
      shown: whether to show anything; False in all processes but the first.
      stream: where to write; None for standard error.
    """

    def __init__(self, total: int, first: int, *, shown: bool = True,
                 stream: IO[str] | None = None):
        self._total, self._done, self._shown = total, first, shown
        self._stream = sys.stderr if stream is None else stream
        self._begin = time.perf_counter()
        self._compiled = 0.0
        self._bar: tqdm | None = None
        if shown and _is_wide(self._stream):
            self._bar = tqdm(total=total, initial=first, unit="it", dynamic_ncols=True,
                             desc="compiling", mininterval=1, file=self._stream)
        else:
            self._say(f"compiling; {first:,} of {total:,} iterations are done")

    def update(self, count: int) -> None:
        """Counts iterations that have started; the first call ends the compilation."""
        self._done += count
        now = time.perf_counter()
        if not self._compiled:
            self._compiled = now
            seconds = duration(now - self._begin)
            if self._bar is None:
                self._say(f"compiled in {seconds}")
            else:
                # The bar's clock starts here, so that the time left is that of the iterations.
                self._bar.unpause()
                self._bar.initial += count
                self._bar.set_description(f"training (compiled in {seconds})", refresh=False)
        if self._bar is not None:
            self._bar.update(count)

    def row(self, iteration: int, values: dict[str, float], rate: float, images: float) -> None:
        """Shows the numbers of a logged iteration.

        Args:
          values: `d_loss` and `g_loss` among them.
          rate, images: iterations and images per second since the last row; 0 if unknown.
        """
        losses = f"D {values['d_loss']:.3f}, G {values['g_loss']:.3f}"
        speed = f"{images:,.0f} img/s, " if images else ""
        if self._bar is not None:
            self._bar.set_postfix_str(speed + losses, refresh=False)
            return
        left = f"{duration((self._total - iteration) / rate)} left, " if (
            rate and iteration < self._total) else ""
        share = iteration / self._total
        self._say(f"{iteration:,} of {self._total:,} ({share:.0%}): {speed}{left}{losses}")

    def __exit__(self, *_: object) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _say(self, line: str) -> None:
        if self._shown:
            print(line, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """'4.2 s', '40 s', '12 min' or '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def finished(workdir: str | os.PathLike, config: ConfigDict, seconds: float | None) -> str:
    """Summary of a finished run: its files, its folder, and what to do next.

    seconds: time that its iterations took in this process; None if all were done before.
    """
    folder = Path(workdir)
    last = f"{config.iterations:07d}.png"
    took = ("finished before: nothing left to do" if seconds is None
            else f"done in {duration(seconds)}")
    made = [f"samples/{last}"] if (folder / "samples" / last).exists() else []
    made += [name for name in ("losses.png", "sigma.png", "metrics.jsonl", "scores.jsonl")
             if (folder / name).exists()]
    made.append(f"checkpoints/{config.iterations}")
    where, plain = shlex.quote(str(folder)), config.to_dict()
    longer = may_continue(plain, {**plain, "iterations": 2 * config.iterations}, config.iterations)
    return (f"{config.iterations:,} iterations, {took}; in {folder}: {', '.join(made)}\n"
            f"next: sngan sample --workdir={where}"
            + "; longer: the same command with a larger --config.iterations" * longer)


def _is_wide(stream: IO[str]) -> bool:
    """Whether a stream is a terminal with room for a bar; under `script` it may have no columns."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return stream.isatty() and os.get_terminal_size(stream.fileno()).columns >= 20
    return False
