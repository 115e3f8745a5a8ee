"""TensorBoard events, written at once by the calling thread.

tensorboardX's SummaryWriter writes from a separate thread, which a full disk ends silently. It also
keeps two minutes of events in memory, which a killed run loses.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sngan_jax.base.files import naming


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Context in which importing a package fails as if it were absent, unless already imported."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # as in the Python reference
    try:
        yield
    finally:
        del sys.modules[package]


# tensorboardX imports PyTorch if it is installed, for tensors that we never pass to it. That takes
# two seconds or more.
with _hidden("torch"):
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

_COUNT = itertools.count()


class Events:
    """Writer of events, with a new file for each start of a run.

    Args:
      folder: made if missing.
      first: first step of this start; this and later steps in older files are void.

    Raises:
      OSError: from every method, if it cannot write.
    """

    def __init__(self, folder: Path, first: int):
        self._folder = folder
        folder.mkdir(exist_ok=True)
        # The file is named by the second, and two starts within one must not share a file.
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{next(_COUNT)}")
        self._write(session_log=SessionLog(status=SessionLog.START), step=first)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes several numbers of one step."""
        for name, value in values.items():
            self._write(summary=summary.scalar(name, value), step=step)

    def images(self, name: str, images: np.ndarray, step: int) -> None:
        """Writes a grid of uint8 (n, h, w, c)."""
        self._write(summary=summary.image(name, images, dataformats="NHWC"), step=step)

    def flush(self) -> None:
        """Hands all events to the operating system."""
        with naming(self._folder / "events"):
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()

    def _write(self, **content: object) -> None:
        with naming(self._folder / "events"):
            self._writer.write_event(Event(wall_time=time.time(), **content))
