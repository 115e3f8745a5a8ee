"""CI never leaves out a test that a change could affect."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("groups", ROOT / ".ci" / "groups.py")
groups = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(groups)

TREE = groups.Tree({
    "sngan_jax/__init__.py": "", "sngan_jax/a.py": "", "sngan_jax/b.py": "from sngan_jax import a",
    "sngan_jax/c.py": "def f():\n    import sngan_jax.b",
    "experiments/__init__.py": "", "experiments/go.py": "from sngan_jax.c import f",
    "experiments/say.py": "print('try python -m experiments.go')",
    "docs/page.md": None, "docs/images/a.png": None, "README.md": None, "LICENSE": None,
    "tests/conftest.py": "program('experiments.go')", "tests/data.npz": None,
    "tests/test_a.py": "from sngan_jax import a\n@pytest.mark.slow\ndef test(): pass",
    "tests/test_b.py": "import sngan_jax.b",
    "tests/test_go.py": "run('python -m experiments.go --x')",
    "tests/test_say.py": "import experiments.say",
    "tests/test_any.py": "pytestmark = pytest.mark.slow\nrun(f'experiments.{name}')",
    "tests/test_run.py": "def test(finished_run): pass",
    "tests/test_docs.py": "ROOT / 'docs' / 'images'\nROOT.glob('*.md')",
    "tests/test_data.py": "open(FILE.with_name('data.npz'))",
    "tests/test_peer.py": "pytestmark = pytest.mark.peers"})


def run(changed, group="default"):
    files, why = groups.chosen(group, changed, TREE)
    return [file.removeprefix("tests/test_").removesuffix(".py") for file in files], why


@pytest.mark.parametrize(("changed", "files"), [
    ("sngan_jax/a.py", ["a", "b", "go", "run"]), ("sngan_jax/b.py", ["b", "go", "run"]),
    ("experiments/say.py", ["say"]), ("tests/data.npz", ["data"]), ("README.md", ["docs"]),
    ("docs/images/a.png", ["docs"]), ("tests/test_b.py", ["b"])])
def test_what_imports_or_names_a_file_runs(changed, files):
    found, why = run([changed])
    assert found == files and f"need none of {changed}" in why


def test_a_group_is_its_mark():
    assert run(None)[0] == ["a", "b", "data", "docs", "go", "run", "say"]
    assert run(None, "slow")[0] == ["a", "any"] and run(None, "peers")[0] == ["peer"]
    assert run(["sngan_jax/a.py"], "slow")[0] == ["a", "any"]
    assert run(["sngan_jax/b.py"], "slow")[0] == ["any"]
    assert run(["sngan_jax/b.py"], "peers")[0] == []
    # An f-string of a program's name is any program.
    assert run(["experiments/say.py"], "slow")[0] == ["any"]


@pytest.mark.parametrize(("changed", "why"), [
    (["setup.cfg"], "setup.cfg changed"), (["README.md", ".ci/run"], ".ci/run changed"),
    (["LICENSE"], "no test is known to need LICENSE"), (["gone.py"], "known to need gone.py")])
def test_where_it_is_unknown_everything_runs(changed, why):
    assert run(changed)[0] == run(None)[0] and why in run(changed)[1]


def test_what_changed_is_asked_of_git(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b",
                        *arguments], check=True, capture_output=True)

    monkeypatch.setattr(groups, "ROOT", tmp_path)
    monkeypatch.delenv("CI_ALL", raising=False)
    git("init", "-b", "trunk")
    (tmp_path / "a").write_text("a")
    git("add", ".")
    git("commit", "-m", "a")
    assert groups.changed_files() == (None, "there is no main branch to compare with")
    git("branch", "main")
    assert groups.changed_files()[0] is None  # HEAD is in main
    (tmp_path / "b").write_text("b")
    git("add", ".")
    git("commit", "-m", "b")
    (tmp_path / "c").write_text("c")
    assert groups.changed_files()[0] == ["b", "c"]
    monkeypatch.setenv("CI_ALL", "1")
    assert groups.changed_files() == (None, "CI_ALL=1")


def test_every_module_of_this_checkout_is_reached_by_a_test():
    tree = groups.read_tree()
    reached = set().union(*map(tree.reach, tree.tests))
    assert {path for path in tree.files if path.startswith("sngan_jax/")} <= reached
    assert "sngan_jax/metrics/kid.py" in tree.reach("tests/metrics/test_kid.py")
    assert "sngan_jax/metrics/kid.py" not in tree.reach("tests/run/test_figures.py")
    assert "sngan_jax/step/iteration.py" in tree.reach("tests/experiments/test_evaluate.py")
