"""The source code of a result."""

import subprocess

import pytest

from sngan_jax.base import provenance


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A repository whose only commit holds a copy of the module; and git in it."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)

    def git(*arguments):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a", "-c", "commit.gpgsign=false",
             "-c", "core.hooksPath=/dev/null", *arguments], cwd=tmp_path,
            check=True, text=True, capture_output=True).stdout.strip()

    file = tmp_path / "sngan_jax" / "base" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(file))
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    return tmp_path, git


def test_the_commit_is_of_the_source(repository):
    folder, git = repository
    head = git("rev-parse", "HEAD")
    (folder / "samples.npz").write_text("")
    assert provenance.commit() == head
    (folder / "sngan_jax" / "new.py").write_text("")
    assert provenance.commit() == f"{head}+changes"


def test_the_commit_is_not_that_of_a_project_around_an_installation(repository, monkeypatch):
    folder, _ = repository
    installed = folder / "venv" / "sngan_jax" / "base" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.commit() is None


def test_the_code_version_is_of_the_source(monkeypatch, tmp_path):
    (tmp_path / "__init__.py").write_text("a")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "base" / "provenance.py"))
    before = provenance.code_version()
    assert before == provenance.code_version()
    (tmp_path / "__init__.py").write_text("b")
    assert provenance.code_version() != before
