"""One writer a workdir."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.run.lock import LOCK, is_held, locked

_HOLDER = """
import sys, time
from pathlib import Path
from sngan_jax.run.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_with_the_holders_name(tmp_path):
    assert not is_held(tmp_path)
    with locked(tmp_path):
        assert is_held(tmp_path)
        holder = json.loads((tmp_path / LOCK).read_text())
        assert holder["pid"] == os.getpid() and holder["host"] == socket.gethostname()
        with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"), \
                locked(tmp_path):
            pass
        assert json.loads((tmp_path / LOCK).read_text()) == holder
    assert not is_held(tmp_path)
    with locked(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, capsys):
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)],
                               stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {process.pid}"), locked(tmp_path):
            pass
        process.kill()
    with locked(tmp_path):
        assert f"was left by process {process.pid} " in capsys.readouterr().err


def test_another_host_holds_it_until_it_gives_no_sign_of_life(tmp_path):
    file = tmp_path / LOCK
    file.write_text(json.dumps({"host": "elsewhere", "pid": 1, "date": "today"}))
    with pytest.raises(UserError, match="process 1 on elsewhere") as caught, locked(tmp_path):
        pass
    assert caught.value.status == os.EX_TEMPFAIL  # a scheduler tries again
    os.utime(file, (time.time() - 3600,) * 2)
    with locked(tmp_path):
        assert json.loads(file.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 4000, "\0\0"])
def test_a_damaged_lock_file_is_nobodys(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("sngan_jax.run.lock._BEAT", 0.02)


def wait_for(found):
    end = time.monotonic() + 10
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_lock_that_was_deleted_is_made_again(tmp_path, capsys, fast):
    with locked(tmp_path) as still_ours:
        (tmp_path / LOCK).unlink()
        wait_for((tmp_path / LOCK).exists)
        still_ours()
        wait_for(lambda: "is recreated" in capsys.readouterr().err)
        with pytest.raises(UserError, match="in use"), locked(tmp_path):
            pass
    assert not (tmp_path / LOCK).exists()


def test_a_run_notices_that_another_one_has_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("sngan_jax.run.lock._BEAT", 0.5)
    with locked(tmp_path) as still_ours:
        (tmp_path / LOCK).unlink()
        with locked(tmp_path):
            time.sleep(1.5)
            for _ in range(2):
                with pytest.raises(UserError, match=r"was deleted, and .* is in use by process"):
                    still_ours()
            holder = (tmp_path / LOCK).read_text()
            assert json.loads(holder)["pid"] == os.getpid()
