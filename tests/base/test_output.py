"""Output can be lost, but cannot end a program or control a terminal."""

import io
import subprocess
import sys

import pytest

from sngan_jax.base.errors import UserError, printable
from sngan_jax.base.output import Steady, say, steady

_TALKS = """
import sys, time
from sngan_jax.base.output import make_steady, say
make_steady()
for i in range(5000):
    print("a line on standard output", i)
    say(f"note: a sentence on standard error {i}")
    if i == 50:
        sys.stdout.flush()
        time.sleep(0.2)
open(sys.argv[1], "w").write("done")
"""


@pytest.mark.parametrize("sink", ["head", "full", "closed"])
def test_a_program_goes_on_when_nobody_takes_its_words(tmp_path, sink):
    to = {"head": "2>&1 | head -1", "full": ">/dev/full 2>&1", "closed": ">&- 2>&-"}[sink]
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" "$2" {to}; exit ${{PIPESTATUS[0]}}', sys.executable, _TALKS,
         str(tmp_path / "end")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "end").read_text() == "done"
    assert "Exception ignored" not in done.stderr


def test_what_would_steer_a_terminal_is_escaped(capsys):
    with steady():
        print("a\x1b]0;title\x07b\x9bc\u202ed\x1b[31mred\x1b[0m\tσ\udcff")
    assert capsys.readouterr().out == (
        "a\\x1b]0;title\\x07b\\x9bc\\u202ed\x1b[31mred\x1b[0m\tσ\\udcff\n")
    say("one\nline\x1b[2J")
    assert capsys.readouterr().err == "one\\nline\\x1b[2J\n"
    assert str(UserError("no file a\nb\x1b")) == "no file a\\nb\\x1b"
    assert printable("σ of W̄, naïve") == "σ of W̄, naïve"


def test_a_stream_that_cannot_show_a_letter_shows_its_number():
    raw = io.BytesIO()
    stream = Steady(io.TextIOWrapper(raw, encoding="ascii"))
    print("σ = 1", file=stream)
    stream.flush()
    assert raw.getvalue() == b"\\u03c3 = 1\n"


def test_other_errors_are_no_lost_output():
    class Broken:
        closed = False

        def write(self, text):
            raise ValueError(text)

    with pytest.raises(ValueError, match="word"):
        Steady(Broken()).write("word")
