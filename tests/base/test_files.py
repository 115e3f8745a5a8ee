"""Atomic file writes."""

import os

import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.base.files import (
    WriteError,
    check_writable,
    leftovers,
    replacing,
    write_errors,
    write_text,
)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.json"
    write_text(file, "old")
    with pytest.raises(OSError) as caught, replacing(file) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(file)
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]
    write_text(file, "new")
    assert file.read_text() == "new"


def test_the_sentence_names_file_and_folder(tmp_path):
    words = rf"a\.png in the folder {tmp_path} \(No space"
    with pytest.raises(WriteError, match=words) as caught, write_errors("a picture", tmp_path):
        raise OSError(28, "No space left", str(tmp_path / "a.png"))
    assert caught.value.status == 74


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path):
    file = tmp_path / "a[1].json"
    old, new, other = (tmp_path / name for name in (
        "a[1].json.123.tmp", "a[1].json.124.tmp", "b.json.125.tmp"))
    for left in (old, new, other):
        left.write_text("half")
    for left in (old, other):
        os.utime(left, (0, 0))
    write_text(file, "whole")
    assert {*os.listdir(tmp_path)} == {file.name, new.name, other.name}
    assert {*leftovers(tmp_path)} == {new, other}


def test_a_place_that_cannot_be_written_is_said_before(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "folder" / "a.json", "--out")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=r"--out=.* is a folder: give the name of a file"):
        check_writable(tmp_path, "--out")
    (tmp_path / "file").touch()
    check_writable(tmp_path / "file", "--out", replaced=True)
    with pytest.raises(UserError, match=r"file/a\.json: .*file is a file and not a folder"):
        check_writable(tmp_path / "file" / "a.json", "--out")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    check_writable(tmp_path / "file", "--out")
    with pytest.raises(UserError, match="file cannot be written"):
        check_writable(tmp_path / "file", "--out", replaced=True)
    with pytest.raises(UserError, match=r"a\.json cannot be written: choose another pl"):
        check_writable(tmp_path / "new" / "a.json", "--out")
