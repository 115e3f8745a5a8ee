"""Signals: noted, raised, or handled by another thread."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sngan_jax.run.interruption import SIGNALS, Interruption, Stopped


def test_noted_and_the_old_handlers_are_back():
    old, old_interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert interruption.signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == old  # a second one acts as usual
    assert signal.getsignal(signal.SIGINT) is old_interrupt


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_every_signal_that_would_end_the_process_is_noted(number):
    old = signal.getsignal(number)
    with Interruption() as interruption:
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert interruption.signal == number and interruption.name == number.name
    assert signal.getsignal(number) == old


def test_an_ignored_signal_stays_ignored():
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert interruption.signal is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, old)


def test_what_is_sent_again_by_itself_is_no_second_signal():
    with Interruption() as interruption:
        for number in (signal.SIGXCPU, signal.SIGXCPU, signal.SIGHUP):
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        assert interruption.signal == signal.SIGXCPU


def test_the_signals_before_the_start_are_the_same():
    # stopping.py names them too, as it must not wait for this to be imported.
    text = (Path(__file__).parents[2] / "experiments" / "stopping.py").read_text()
    assert {*re.findall(r"signal\.(SIG[A-Z0-9]+)", text)} == {n.name for n in SIGNALS}


def test_a_hook_that_was_set_meanwhile_and_is_to_stay_stays(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    with Interruption():
        pass
    assert sys.unraisablehook is sys.__unraisablehook__
    with Interruption():
        mine = lambda hooked: None  # noqa: E731
        sys.unraisablehook = mine
    assert sys.unraisablehook is mine


def test_raised_where_nothing_is_lost():
    with Interruption() as interruption:
        with pytest.raises(Stopped), interruption.abandoning():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        with pytest.raises(Stopped), interruption.abandoning():
            raise AssertionError("not reached")


def test_raised_where_c_code_makes_another_error_of_it():
    with Interruption() as interruption:
        with pytest.raises(ValueError, match="its own"), interruption.abandoning():
            raise ValueError("its own")
        with pytest.raises(Stopped), interruption.abandoning():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
            except Stopped as error:
                raise SystemError("a function returned a result with an exception set") from error


_STUCK = """
import hashlib
import sys
from sngan_jax.run.interruption import Interruption
# In one C call that no handler can interrupt, as XLA's compiler is.
with Interruption(own_process=True, grace=float(sys.argv[1])) as interruption:
    interruption.set_fallback(eval(sys.argv[2]))
    print("ready", flush=True)
    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)
"""


@contextlib.contextmanager
def _stuck(grace, fallback="lambda: print('rescued', flush=True)"):
    with subprocess.Popen([sys.executable, "-c", _STUCK, str(grace), fallback], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            yield process
        finally:
            process.kill()


def test_a_main_thread_that_does_not_come_back_is_saved_by_another():
    with _stuck(0.5) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 75 and out == "rescued\n" and "saved" in err


def test_a_main_thread_that_has_nothing_to_save_says_so():
    with _stuck(0.1, "lambda: False") as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 75 and "; there was nothing new to save: run the same" in err


def test_a_second_signal_ends_at_once():
    with _stuck(1000) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM) and out == ""
