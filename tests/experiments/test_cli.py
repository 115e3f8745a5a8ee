"""The command line: its programs, flags and slips, in one process and under both names."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import sngan_jax.experiments.__main__

import experiments.__main__
from experiments import cli
from experiments.__main__ import PROGRAMS, main
from experiments.bench import PROGRAMS as BENCHMARKS
from experiments.fields import value_of
from experiments.process import keep_compiled_programs
from experiments.read_config import load_config, packaged
from sngan_jax.base.errors import UserError
from sngan_jax.run.config import FIELDS
from sngan_jax.run.validate import SYNONYMS, likely_field

FOLDER = Path(experiments.__file__).parent


def test_every_program_is_a_command():
    ending = 'if __name__ == "__main__":'
    modules = {file.stem.replace("_", "-") for file in FOLDER.glob("*.py")
               if ending in file.read_text()} - {"--main--", "tpu-check"}
    assert modules | {"bench"} == set(PROGRAMS)
    assert {file.stem for file in (FOLDER / "bench").glob("*.py")
            if "def arguments" in file.read_text()} == set(BENCHMARKS)


@pytest.mark.parametrize("name", [*PROGRAMS, *(f"bench {name}" for name in BENCHMARKS)])
def test_help_ends_with_status_0(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"usage: sngan {name}" in said
    if "--config NAME" in said:
        assert all(f"    {field}=" in said for field in FIELDS)


def test_help_shows_the_values_of_the_config(capsys):
    for words in (["--config=digits"], ["--config", "digits"]):
        assert main(["train", *words, "--help"]) == 0
        said = capsys.readouterr().out
        assert "learning_rate=0.001 " in said and "--config NAME[:ARGUMENT]" in said
    assert main(["--help"]) == main([]) == main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.count("usage: sngan PROGRAM") == 2
    assert said.splitlines()[-1].startswith("sngan_jax ")


def test_both_names_of_the_programs_live_in_one_process(capsys):
    for package in (experiments, sngan_jax.experiments):
        for _ in range(2):
            assert package.__main__.main(["sample", "--workdir=/nowhere", "--num=3"]) == 2
    assert capsys.readouterr().err.count("/nowhere is not the workdir of a run") == 4
    assert cli.command("train")[1:] == ["-m", "experiments.train"]
    other = sngan_jax.experiments.cli.command("get-inception")
    assert other == [sys.executable, "-P", "-m", "sngan_jax.experiments.get_inception"]


@pytest.mark.parametrize("allocate", [lambda: jax.numpy.zeros(2**46), lambda: np.zeros(2**46)])
def test_no_memory_is_a_sentence(allocate, capsys):
    assert cli.run(lambda options: allocate(), lambda parser: None, "", "train", []) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is not enough memory (") and "smaller batches" in said
    assert len(said.splitlines()) == 1


def test_a_platform_that_is_not_here_is_a_sentence(monkeypatch, capsys):
    def backends(options):  # as jax._src.xla_bridge without the platform's plugin
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert cli.run(backends, lambda parser: None, "", "train", []) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: JAX_PLATFORMS=cuda is not available (JAX finds no such device")
    assert said.count("\n") == 1
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(AssertionError):
        cli.run(backends, lambda parser: None, "", "train", [])


def test_a_cache_that_cannot_be_made_is_a_warning(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SNGAN_JAX_CACHE", str(tmp_path / "file" / "cache"))
    kept = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        keep_compiled_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)
    said = capsys.readouterr().err
    assert said.startswith("warning: the cache ") and "SNGAN_JAX_CACHE" in said


def arguments(parser):
    parser.add_config()
    parser.add_argument("--out", metavar="FOLDER")
    parser.add_argument("--scores", metavar="FILE.npz")
    parser.add_argument("--num-fake", type=cli.whole(1), default=7)
    parser.add_argument("--name")
    parser.add_argument("--sizes", type=cli.wholes(0), default=[1])
    parser.add_switch("--dry-run", "nothing is done")


def parsed(*words):
    return cli.parse(arguments, "", "test", ["--config=digits", *words])


def test_flags_in_all_ways_of_writing_them():
    for words in (("--num-fake=3",), ("--num_fake=3",), ("--num-fake", "3"), ("--num_fake", "3")):
        options = parsed(*words)
        assert options.num_fake == 3 and options.given == {"config", "num_fake"}
    assert parsed().num_fake == 7 and not parsed().dry_run
    assert parsed("--dry-run").dry_run and parsed("--dry_run=True").dry_run
    assert not parsed("--dry-run=false").dry_run
    assert parsed("--name=a_b --c").name == "a_b --c"
    assert parsed("--sizes=0,4").sizes == [0, 4]
    home = str(Path.home())
    options = parsed("--out=~/runs", "--scores", "~/a.npz", "--name=~/b")
    assert (options.out, options.scores, options.name) == (f"{home}/runs", f"{home}/a.npz", "~/b")
    assert parsed("--name=x y").command == "sngan test --config=digits '--name=x y'"


def test_fields_in_all_ways_of_writing_them():
    same = ["flip=true", "seed=3"]
    for words in (("--config.flip=true", "--config.seed=3"), ("--config.flip", "--config.seed=3"),
                  ("--config.flip", "true", "--config.seed", "3"),
                  ("--set=flip=true", "--set", "seed=3")):
        assert parsed(*words).changes == same
    config = load_config("digits:conditional", same)
    assert config.flip and config.seed == 3 and config.conditional


@pytest.mark.parametrize("change, value", [
    ("seed=3", 3), ("learning_rate=1e-3", 1e-3), ("learning_rate=2", 2.0), ("flip=FALSE", False),
    ("loss=", ""), ("dataset=npz:a=b.npz", "npz:a=b.npz")])
def test_values_of_every_kind(change, value):
    name, found = value_of(change)
    assert (name, found) == (change.partition("=")[0], value)
    assert type(found) is type(FIELDS[name].default)


@pytest.mark.parametrize("change, words", [
    ("seed=1_0", "config.seed is '1_0', expected a whole number"),
    ("optimizer.learning_rate=0.1", "write --config.learning_rate=0.1"),
    ("seed.x=1", "has no part 'x': write --config.seed=VALUE"), ("seed[0]=1", "has no part '0'"),
    ("=1", "not followed by a field"), ("lr=1", "did you mean learning_rate"),
    ("seed", "write FIELD=VALUE"), ("colour=1", "sngan train --help lists them")])
def test_changes_that_cannot_be(change, words):
    with pytest.raises(UserError) as caught:
        value_of(change)
    assert words in str(caught.value) and len(str(caught.value)) < 200


def test_what_fields_are_called_elsewhere_are_no_fields_themselves():
    assert set(SYNONYMS.values()) <= set(FIELDS) and not set(SYNONYMS) & set(FIELDS)
    assert likely_field("iteratons") == "iterations" and likely_field("LR") == "learning_rate"
    assert likely_field("colour") is None


def test_configs_by_name_by_path_and_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = load_config("cifar10_cnn:wgan_gp,A")
    assert by_name == load_config(f"{FOLDER}/configs/cifar10_cnn.py:wgan_gp,A")
    assert "paper" not in packaged() and "digits" in packaged()
    # A copy elsewhere still finds what it imports beside it.
    (tmp_path / "copy.py").write_text((FOLDER / "configs" / "digits.py").read_text())
    assert load_config("copy.py:conditional") == load_config("digits:conditional")
    (tmp_path / "plain.py").write_text("def get_config():\n    return {'seed': 3}\n")
    assert load_config("./plain.py").seed == 3
    with pytest.raises(UserError, match=r"a\.py: there is no file a\.py; the package's own are"):
        load_config("a.py")
