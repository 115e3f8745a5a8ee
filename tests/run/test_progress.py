"""Progress of a run: lines in a file, a bar in a terminal, a summary at the end."""

import fcntl
import io
import os
import pty
import struct
import termios
import threading

import pytest
from ml_collections import ConfigDict

from sngan_jax.run import progress
from sngan_jax.run.progress import Progress, duration, finished

LOSSES = {"d_loss": 1.5, "g_loss": 0.25}


def drive(stream, clock, first=0, shown=True):
    """A run of 1,000 iterations: 60 s of compilation, then a tenth of a second each."""
    with Progress(1000, first, shown=shown, stream=stream) as bar:
        clock[0] += 60
        bar.update(1)
        bar.row(first + 1, LOSSES, 0.0, 0.0)
        for _ in range(99):
            clock[0] += 0.1
            bar.update(1)
        bar.row(first + 100, LOSSES, 10.0, 640.0)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_a_file_has_a_line_a_row_and_no_carriage_return(clock):
    stream = io.StringIO()
    drive(stream, clock, first=400)
    assert stream.getvalue().splitlines() == [
        "compiling; 400 of 1,000 iterations are done", "compiled in 60 s",
        "401 of 1,000 (40%): D 1.500, G 0.250",
        "500 of 1,000 (50%): 640 img/s, 50 s left, D 1.500, G 0.250"]


def test_only_the_first_process_shows_anything(clock):
    stream = io.StringIO()
    drive(stream, clock, shown=False)
    assert stream.getvalue() == ""


def in_terminal(columns, clock):
    """Output to a terminal with this number of columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    found = []

    def read():
        try:
            while data := os.read(master, 4096):
                found.append(data)
        except OSError:  # its other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as stream:
        drive(stream, clock)
    reader.join(10)
    os.close(master)
    return b"".join(found).decode()


def test_a_terminal_has_a_bar_whose_time_left_has_no_compilation(clock):
    text = in_terminal(100, clock)
    assert "compiling" in text and "\r" in text
    last = text.split("\r")[-2:]
    assert any("training (compiled in 60 s)" in part for part in text.split("\r")), last
    assert "100/1000" in text


def test_a_terminal_without_columns_has_lines(clock):
    text = in_terminal(0, clock)
    assert "100 of 1,000 (10%): 640 img/s, 2 min left" in text.replace("\r", "")


def test_the_end_names_what_was_made_and_the_next_command(tmp_path):
    folder = tmp_path / "my run"
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "0000070.png").touch()
    (folder / "losses.png").touch()
    config = ConfigDict({"iterations": 70, "lr_decay_start": 1.0})
    text = finished(folder, config, 125.0)
    assert text.splitlines()[0] == (f"70 iterations, done in 2 min; in {folder}: "
                                    "samples/0000070.png, losses.png, checkpoints/70")
    assert f"next: sngan sample --workdir='{folder}'" in text
    assert "longer: the same command with a larger --config.iterations" in text
    assert "nothing left to do" in finished(folder, config, None)
    # A run whose learning rate has fallen to 0 cannot be longer.
    assert "longer" not in finished(folder, ConfigDict({"iterations": 70, "lr_decay_start": 0.0}),
                                    None)


@pytest.mark.parametrize(("seconds", "words"), [
    (1.25, "1.2 s"), (61, "61 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds, words):
    assert duration(seconds) == words
