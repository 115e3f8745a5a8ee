"""What `pip install` of a wheel gives: the library, the programs, their files, and no tests."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*command, **options):
    result = subprocess.run([sys.executable, *map(str, command)], text=True, capture_output=True,
                            timeout=550, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy, so that no file of an earlier build gets in."""
    pytest.importorskip("build", reason='the wheel needs pip install "sngan_jax[test]"')
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(
        ".git", "build", "dist", "*.egg-info", "__pycache__", "runs", "_build", "generated",
        ".venv"))
    run("-m", "build", "--wheel", "--outdir", folder, folder / "source")
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_it_should(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {str(file.relative_to(ROOT)) for package in ("sngan_jax", "experiments")
              for file in (ROOT / package).rglob("*.py")}
    wanted |= {str(file.relative_to(ROOT)) for file in (ROOT / "experiments" / "launch").iterdir()}
    assert names == wanted | {"sngan_jax/py.typed"}
    assert {"experiments/launch/gke_tpu.yaml", "experiments/configs/digits.py"} <= names


def test_what_is_installed_works_in_another_folder(wheel, tmp_path):
    installed = tmp_path / "installed"
    run("-m", "pip", "install", "-q", "--no-deps", "--target", installed, wheel)
    environment = {**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}
    text = run("-c", "import sngan_jax, experiments; from importlib.metadata import version; "
               "print(sngan_jax.__file__, experiments.__file__, sngan_jax.__version__, "
               "version('sngan_jax'))", cwd=tmp_path, env=environment).split()
    assert text[0] == str(installed / "sngan_jax" / "__init__.py")
    assert text[1] == str(installed / "experiments" / "__init__.py")
    assert text[2] == text[3]
    # A training run by the installed program and config.
    config = installed / "experiments" / "configs" / "digits.py"
    run("-m", "experiments.train", f"--config={config}", "--workdir=run", "--config.iterations=2",
        "--config.generator_width=4", "--config.discriminator_width=4", "--config.batch_size=8",
        "--config.generator_batch_size=8", "--config.num_samples=4", cwd=tmp_path, env=environment)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") >= 1
