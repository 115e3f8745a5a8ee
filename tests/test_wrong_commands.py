"""More than fifty wrong command lines: one sentence, status 2, nothing written."""

import os

import pytest

from docs import wrong_commands
from docs.wrong_commands import COMMANDS, FILES, PAGE, folder, said


@pytest.fixture(scope="module")
def printed():
    """({command: (status, text)}, all typed in one folder; the files there afterwards)."""
    with folder() as place:
        found = {command: said(command) for command in COMMANDS}
        files = {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}
    return found, {file for file in files if "__pycache__" not in file}


def test_there_are_fifty():
    assert len(set(COMMANDS)) >= 50


def test_each_is_one_sentence_and_status_2(printed):
    for command, (status, text) in printed[0].items():
        assert status == 2, f"{command}: {text}"
        assert text.startswith("error: ") and "\n" not in text and len(text) < 500, (command, text)
        for words in ("Traceback", "invalid literal", "could not convert", "expected one argument",
                      os.getcwd()):
            assert words not in text, command


def test_nothing_was_written(printed):
    assert printed[1] == set(FILES)


def test_the_page_has_what_they_print(printed, monkeypatch):
    monkeypatch.setattr(wrong_commands, "said", lambda command: printed[0][command])
    page = PAGE.read_text()
    assert page == wrong_commands.page_with_table(page), "run: python docs/wrong_commands.py"
