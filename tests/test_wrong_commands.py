"""More than fifty wrong command lines: one sentence, status 2, nothing written."""

import errno
import os
from pathlib import Path

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


LONG = 300 * "x"  # longer than the name of a file may be


@pytest.mark.parametrize("command", [
    f"sngan train --config={LONG}.py --workdir=a", f"sngan train --config=digits --workdir={LONG}",
    f"sngan report --workdir={LONG}", f"sngan sample --pretrained=digits --out={LONG}",
    f"sngan sample --pretrained={LONG}.npz", f"sngan evaluate --images={LONG} --against=digits",
    f"sngan sweep --config=digits --workdir={LONG} --dry-run", f"sngan audit --workdir={LONG}",
    f"sngan prepare --dataset=cifar10 --archive={LONG}"])
def test_a_name_that_no_file_can_have(command):
    with folder():
        status, text = said(command)
    assert status == 2 and text.startswith("error: ") and "\n" not in text, text


def test_a_folder_that_this_user_may_not_read(monkeypatch):
    plain = Path.stat

    def closed(path, **options):
        if "closed" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, **options)

    def refused(file):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    with folder() as place:
        (place / "closed").mkdir()
        (place / "shut.npz").write_bytes(b"PK")
        monkeypatch.setattr(Path, "stat", closed)
        monkeypatch.setattr("zipfile.ZipFile", refused)
        for command in ("train --config=closed/my.py --workdir=a", "report --workdir=closed",
                        "train --config=digits --workdir=a --config.dataset=npz:closed/x.npz",
                        "train --config=digits --workdir=a --config.dataset=idx:closed/x",
                        "import-weights --from=mimicry --workdir=a closed/g.pth",
                        "evaluate --images=closed/x.npz --against=digits",
                        "sample --pretrained=closed/x.npz --num=4",
                        "sample --pretrained=shut.npz --num=4",
                        "import-weights --from=mimicry --workdir=a shut.npz",
                        "evaluate --images=shut.npz --against=digits"):
            status, text = said(f"sngan {command}")
            name = "shut" if "shut" in command else "closed"
            assert status == 2 and text.count(name) == 1 and "damaged" not in text, text
            assert "cannot be used (Permission denied): give this user the right" in text
