"""The cache that programs share."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sngan_jax.base.cache import cache_folder, others_may_write

SCRIPT = """
import jax
from experiments.process import keep_compiled_programs
keep_compiled_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: x * 3 + 1)(2))
"""


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("SNGAN_JAX_CACHE", "~/x")
    assert cache_folder() == Path.home() / "x"
    monkeypatch.delenv("SNGAN_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sngan_jax"


def test_a_folder_that_others_may_write_into(tmp_path):
    assert not others_may_write(tmp_path) and not others_may_write(tmp_path / "to" / "be")
    for mode, answer in ((0o777, True), (0o755, False), (0o1777, True), (0o700, False)):
        tmp_path.chmod(mode)
        assert others_may_write(tmp_path) == answer
    tmp_path.chmod(0o1777)
    assert not others_may_write(tmp_path / "mine")  # as a folder in /tmp


@pytest.mark.parametrize(("name", "members", "primary", "answer"), [
    ("ada", [], True, False), ("ada", ["ada"], True, False), ("ada", ["ada", "bob"], True, True),
    ("lab", [], True, True), ("ada", [], False, True), (None, [], True, True)])
def test_a_group_counts_unless_it_is_the_users_own(tmp_path, monkeypatch, name, members, primary,
                                                   answer):
    tmp_path.chmod(0o775)
    gid = tmp_path.stat().st_gid
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(
        pw_name="ada", pw_gid=gid if primary else gid + 1))

    def group(number):
        if name is None:
            raise KeyError(number)
        return SimpleNamespace(gr_name=name, gr_mem=members)

    monkeypatch.setattr("grp.getgrgid", group)
    assert others_may_write(tmp_path) == answer
    tmp_path.chmod(0o755)
    assert not others_may_write(tmp_path)


@pytest.mark.parametrize("own", [False, True])
def test_compiled_programs_are_kept(tmp_path, own):
    environment = {**os.environ, "SNGAN_JAX_CACHE": str(tmp_path / "a"), "JAX_PLATFORMS": "cpu",
                   "PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if own:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "b")
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, timeout=120)
    (folder,) = tmp_path.iterdir()
    assert folder.name == ("b" if own else "a") and any(p.is_file() for p in folder.rglob("*"))
