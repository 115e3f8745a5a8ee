"""Every import is declared, and the error for a missing module names its extra."""

import ast
import configparser
import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sngan_jax.base import extras
from sngan_jax.base.extras import EXTRAS, MissingExtra, missing, need

ROOT = Path(__file__).parents[2]
SOURCES = sorted(file for package in ("sngan_jax", "experiments")
                 for file in (ROOT / package).rglob("*.py"))
# Modules whose distribution has another name.
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "absl": "absl-py",
                 "ml_collections": "ml-collections", "orbax": "orbax-checkpoint",
                 "tensorflow_datasets": "tensorflow-datasets", "jaxlib": "jax",
                 "google": "protobuf"}
# Private parts of others that are used, each in one place.
PRIVATE = {("sngan_jax/run/distributed.py", "jax._src.distributed"),
           ("sngan_jax/run/distributed.py", "jax._src"), ("sngan_jax/layers.py", "_try_setup"),
           ("sngan_jax/network.py", "_state")}


def declared():
    """{distribution: {extra, or '' for the package itself}} of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    found = {}
    for extra, text in [("", config["options"]["install_requires"]),
                        *config["options.extras_require"].items()]:
        for name in re.findall(r"^([\w-]+)", text, re.MULTILINE):
            found.setdefault(name, set()).add(extra)
    return found


def imported(file):
    """Dotted names of all imports in a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_import_is_declared_where_its_extra_says():
    there = declared()
    found = {name.partition(".")[0] for file in SOURCES for name in imported(file)}
    others = found - set(sys.stdlib_module_names) - {"sngan_jax", "experiments"}
    assert {"jax", "opt_einsum", "PIL", "tqdm"} <= others
    for module in others:
        distribution = DISTRIBUTIONS.get(module, module)
        if module in ("google", "jaxtyping"):  # google comes with libtpu; jaxtyping has stand-ins
            continue
        assert distribution in there, f"{module} is imported and not declared in setup.cfg"
        assert EXTRAS.get(module, "") in there[distribution], module


def test_the_extras_hold_each_other():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for extra, text in config["options.extras_require"].items():
        for inner in re.findall(r"^sngan_jax\[(.*)\]", text, re.MULTILINE):
            assert set(inner.split(",")) <= set(config["options.extras_require"]), extra
    for name in ("sweep", "bench", "test", "docs", "notebooks", "tpu-check", "gpu-check"):
        assert "sngan_jax[train]" in config["options.extras_require"][name]


def test_private_parts_of_others_stand_in_one_place_and_are_there():
    found = set()
    for file in SOURCES:
        place = str(file.relative_to(ROOT))
        for name in imported(file):
            parts = name.split(".")
            if parts[0] not in ("sngan_jax", "experiments") and any(
                    part.startswith("_") and not part.startswith("__") for part in parts):
                found.add((place, name))
        for node in ast.walk(ast.parse(file.read_text())):
            # of an object that is not ours: x._name, where x is no self and _name none of a tuple
            if (isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr)
                    and node.attr not in ("_asdict", "_replace", "_fields", "_exit", "_make")
                    and not (isinstance(node.value, ast.Name)
                             and node.value.id in ("self", "cls"))):
                found.add((place, node.attr))
    used = {(place, name) for place, name in found
            if not (ROOT / place).read_text().count(f"def {name}(")}
    assert used == PRIVATE
    import flax.linen as nn

    distributed = importlib.import_module("jax._src.distributed")
    for name in ("client", "coordinator_address"):
        assert hasattr(distributed.global_state, name)
    assert callable(nn.Module._try_setup)
    assert nn.Dense(1)._state.autoname_cursor == {}


def test_a_missing_module_is_a_sentence_that_names_its_extra():
    need("this", "jax", "json")
    with pytest.raises(MissingExtra, match=r"a needs the module no_such, .*'sngan_jax\[sweep\]'"):
        extras.EXTRAS["no_such"] = "sweep"
        try:
            need("a", "no_such")
        finally:
            del extras.EXTRAS["no_such"]
    assert "'sngan_jax[bench]'" in missing(ModuleNotFoundError("x", name="torch.nn"))
    assert missing(ModuleNotFoundError("x", name="my_own")) is None


def without(code, *absent):
    """Output of a process in which some modules are not installed."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules |= dict.fromkeys({absent!r})\n{code}"],
        cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_layers_need_the_base_alone():
    """Models, losses and methods need no extra either."""
    absent = [module for module in EXTRAS if module not in ("orbax", "absl")]  # Flax and Optax's
    said = without("import sngan_jax\nfrom sngan_jax import *\nimport sngan_jax.methods, "
                   "sngan_jax.models.build, sngan_jax.losses\nprint(SNConv.__name__)", *absent)
    assert said.strip() == "SNConv"


def test_a_program_without_its_extra_is_a_sentence_and_status_2():
    said = without("from experiments.__main__ import main\n"
                   "sys.stderr = sys.stdout\nprint(main(['train', '--config=digits']))\n"
                   "print(main(['--help']))", *EXTRAS)
    lines = said.splitlines()
    assert lines[0].startswith("error: sngan_jax.run needs the module ")
    assert lines[0].endswith("pip install 'sngan_jax[train]'") and lines[1] == "2"
    assert lines[-1] == "0" and any("  train " in line for line in lines)
