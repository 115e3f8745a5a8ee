"""TensorBoard events, without what tensorboardX imports for others."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


def open_events(folder: Path, first_iteration: int) -> SummaryWriter:
    """A writer of event files into a folder; events from `first_iteration` on are dropped first."""
    # tensorboardX imports PyTorch wherever it is installed, for tensors that we never give it: two
    # seconds and more before the first iteration.
    with _hidden("torch"):
        from tensorboardX import SummaryWriter
    return SummaryWriter(str(folder), purge_step=first_iteration)


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """While entered, importing a package that is not yet imported fails as if it were absent."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None
    try:
        yield
    finally:
        del sys.modules[package]
