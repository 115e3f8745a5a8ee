"""A wheel installs the library, the programs and their files, and no tests."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, **options):
    result = subprocess.run([sys.executable, *map(str, command)], text=True, capture_output=True,
                            timeout=550, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy, so that it has no files of an earlier build."""
    pytest.importorskip("build", reason='the wheel needs pip install "sngan_jax[test]"')
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(
        ".git", "build", "dist", "*.egg-info", "__pycache__", "runs", "_build", "generated",
        ".venv"))
    run("-m", "build", "--wheel", "--outdir", folder, folder / "source")
    return next(folder.glob("*.whl"))


def test_the_map_of_packages_is_that_of_the_folders():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = {file.parent.relative_to(ROOT) for package in ("sngan_jax", "experiments")
               for file in (ROOT / package).rglob("__init__.py")}
    names = {".".join(folder.parts) for folder in folders}
    names = {f"sngan_jax.{name}" if name.startswith("experiments") else name for name in names}
    assert set(config["options"]["packages"].split()) == names


def test_the_programs_are_found_where_the_checkouts_folder_goes_before_an_installation():
    """Imports like `python -c`, a notebook or pytest in the checkout; -S skips .pth files."""
    line = "import sngan_jax.experiments as programs; print(programs.__file__)"
    assert Path(run("-S", "-c", line, cwd=ROOT).strip()) == ROOT / "experiments" / "__init__.py"


@pytest.mark.slow
def test_the_wheel_holds_what_it_should(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"sngan_jax"}
    wanted = {str(file.relative_to(ROOT)) for package in ("sngan_jax", "experiments")
              for file in (*(ROOT / package).rglob("*.py"), *(ROOT / package).rglob("templates/*"))
              if "results" not in file.parts}
    wanted |= {str(file.relative_to(ROOT)) for file in (ROOT / "experiments" / "launch").iterdir()}
    wanted |= {str(file.relative_to(ROOT)) for suffix in ("npz", "md")
               for file in (ROOT / "sngan_jax" / "weights").glob(f"*.{suffix}")}
    results = ROOT / "experiments" / "results"
    wanted |= {str(file.relative_to(ROOT)) for pattern in (
        "digits_table2_tiny.json", "fashion_mnist_table2/methods.json", "fashion_mnist_h100/*.json",
        "fashion_mnist_h100/*-metrics.jsonl") for file in results.glob(pattern)}
    wanted = {f"sngan_jax/{name}" if name.startswith("experiments/") else name for name in wanted}
    assert names == wanted | {"sngan_jax/py.typed"}
    assert {"sngan_jax/experiments/launch/gke_tpu.yaml",
            "sngan_jax/experiments/configs/digits.py"} <= names


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel, and an environment that has it and this environment's packages."""
    folder = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "-q", "--no-deps", "--target", folder, wheel)
    return folder


def sngan(installed, cwd, *arguments):
    """Output of the command in a folder where Python finds nothing of this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, installed / "bin" / "sngan", *map(str, arguments)],
                          cwd=cwd, env=environment, text=True, capture_output=True, timeout=550)


@pytest.mark.slow
def test_the_three_uses_in_a_project_with_experiments_of_its_own(installed, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("MINE = 1\n")
    environment = {**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}
    code = """
import experiments, sngan_jax, sngan_jax.experiments.configs.digits as digits
from importlib.metadata import version
from sngan_jax import SNConv
print(experiments.MINE, sngan_jax.__file__, digits.__file__, sngan_jax.__version__)
print(version('sngan_jax'))"""
    text = run("-c", code, cwd=tmp_path, env=environment).split()
    assert text[:3] == ["1", str(installed / "sngan_jax" / "__init__.py"),
                        str(installed / "sngan_jax" / "experiments" / "configs" / "digits.py")]
    assert text[3] == text[4]
    # Training with a packaged config, and with a user's file that starts from one.
    (tmp_path / "mine.py").write_text(
        "from .paper import apply_words\nfrom .digits import get_config as digits\n\n\n"
        "def get_config(argument=''):\n    config = digits()\n    config.generator_width = 4\n"
        "    return apply_words(config, argument, 'mine')\n")
    tiny = [f"--config.{name}={value}" for name, value in {
        "iterations": 2, "discriminator_width": 4, "generator_width": 4, "batch_size": 8,
        "generator_batch_size": 8, "num_samples": 4}.items()]
    done = sngan(installed, tmp_path, "train", "--config=digits", "--workdir=run", *tiny)
    assert done.returncode == 0, done.stderr
    assert "next: sngan sample --workdir=run" in done.stdout
    done = sngan(installed, tmp_path, "sample", "--workdir=run", "--num=4")
    assert done.returncode == 0 and (tmp_path / "run" / "samples-2.png").is_file(), done.stderr
    done = sngan(installed, tmp_path, "train", "--config=mine.py:sn,A", "--workdir=mine",
                 "--config.discriminator_width=-1")
    assert done.returncode == 2 and "discriminator_width is -1" in done.stderr
    # A sweep estimates its times from the records in the wheel.
    done = sngan(installed, tmp_path, "sweep", "--table=2", "--dataset=digits", "--scale=tiny",
                 "--workdir=t", "--dry-run")
    assert done.returncode == 0 and "48 of them estimated" in done.stdout, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["experiments", "mine.py", "run"]


@pytest.mark.slow
def test_the_base_brings_nothing_but_what_flax_and_optax_bring(wheel):
    """pip resolves the extra, without installing it."""
    def brought(*wanted):
        report = json.loads(run("-m", "pip", "install", "--dry-run", "--ignore-installed",
                                "--quiet", "--report", "-", *wanted))
        return {item["metadata"]["name"].lower().replace("_", "-") for item in report["install"]}

    assert brought(wheel) - brought("flax", "optax") == {"sngan-jax"}


def test_the_import_takes_no_longer_than_that_of_flax():
    """The layers import Flax, and nothing else that takes long: 0.2 s at most."""
    code = ("import time, flax.linen; begin = time.process_time(); from sngan_jax import SNConv; "
            "print(time.process_time() - begin)")
    assert min(float(run("-c", code, cwd=ROOT)) for _ in range(2)) < 0.2
