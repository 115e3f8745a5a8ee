"""The documentation is true: its code runs, its commands parse, its links and tables hold."""

import configparser
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import sngan_jax
from docs import badges, config_table, hours_table, launch_table, site_pages
from docs.docstrings import to_rst
from sngan_jax import losses
from sngan_jax.methods import METHODS
from sngan_jax.metrics import scores
from sngan_jax.models.resnet import RESNETS
from sngan_jax.run.workdir import read_metrics
from tests.programs import program

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")})
IN_PYTHON = [page for page in PAGES if "```python" in page.read_text()]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def tables():
    """Restores the library's tables, to which examples add lines."""
    kept = [(table, table.copy()) for table in
            (METHODS, losses.LOSSES, RESNETS, scores.METRICS, scores.COMPUTED,
             scores.NEED_FEATURES)]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)


def run_blocks(page):
    """Variables after running all code of a page from top to bottom."""
    names = {}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), names)
    return names


@pytest.mark.parametrize("page", [
    pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in ("extend", "nnx")))
    for page in IN_PYTHON])
def test_code_blocks_run(page, tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where examples write
    names = run_blocks(page)
    if page.name == "layers.md":
        check_layers_page(names)
    if page.name == "nnx.md":
        check_nnx_page(names)
    if page.name == "extend.md":
        check_extend_page(names, tmp_path)


def check_layers_page(names):
    variables = {"params": names["params"], "spectral": names["spectral"]}
    assert set(names["sigmas"](variables, names["found"])) == {"SNConv_0", "SNConv_1", "SNDense_0"}
    # The NNX model: a training step moves the vectors and the parameters, an evaluation nothing.
    nnx, model = names["nnx"], names["model"]

    def state():
        return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, names["arrays"])))

    before = state()
    names["nnx_eval_step"](model, names["x"])
    jax.tree.map(np.testing.assert_array_equal, before, state())
    names["nnx_train_step"](model, names["nnx_optimizer"], names["x"], names["target"])
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, state())
    assert changed["SNDense_0"]["kernel"] and changed["SNConv_0"]["kernel"]
    assert changed["SNConv_0"]["u"] and changed["SNConv_1"]["v"]


def check_nnx_page(names):
    """A training step changes weights, and D's vectors by one power step; an evaluation nothing."""
    nnx, critic, real = names["nnx"], names["critic"], names["real"]

    def state(model):
        return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))

    critic.eval()
    before, other = state(critic), nnx.clone(critic)
    critic(real)
    jax.tree.map(np.testing.assert_array_equal, before, state(critic))
    names["train_step"](names["gan"], real, jax.random.key(1))
    names["power_steps"](other, 1)
    after, stepped = state(critic), state(other)
    for layer in ("conv1", "conv2"):
        assert (before[layer]["kernel"] != after[layer]["kernel"]).any()
        assert (before[layer]["u"] != after[layer]["u"]).any()
        np.testing.assert_allclose(after[layer]["u"], stepped[layer]["u"], atol=1e-5)


def check_extend_page(names, folder):
    """The method trains with the program's function, and divides by the mean norm."""
    assert names["short_run"]("mean_norm", folder / "run")
    assert all(np.isfinite(row["d_loss"]) for row in read_metrics(folder / "run"))
    layer = names["divided_by_mean_norm"](SimpleNamespace(lipschitz=2.0)).dense(3, use_bias=False)
    variables = layer.init(jax.random.key(0), np.eye(5))
    w = np.asarray(variables["params"]["kernel"])
    np.testing.assert_allclose(
        layer.apply(variables, np.eye(5)),
        4 * w / (np.linalg.svd(w, compute_uv=False)[0] + np.linalg.norm(w)), rtol=1e-5)


@pytest.mark.slow
def test_the_functions_that_train_do(tmp_path):
    """Training functions that README.md and docs/start.md define."""
    tiny = {"generator_width": 4, "discriminator_width": 4, "iterations": 2, "batch_size": 8,
            "generator_batch_size": 8}
    assert run_blocks(ROOT / "README.md")["train_digits"](tmp_path / "a", **tiny)
    assert run_blocks(ROOT / "docs" / "start.md")["short_run"](tmp_path / "b")
    for run in ("a", "b"):
        assert [row["iteration"] for row in read_metrics(tmp_path / run)][-1] == 2
        files = {path.name for path in (tmp_path / run).iterdir()}
        named = re.findall(r"^\| (`[^|]*`) \|", (ROOT / "docs" / "start.md").read_text(), re.M)
        for name in re.findall(r"`([\w.]+)[^`]*`", " ".join(named)):
            assert any(file.startswith(name.rstrip(".")) for file in files), f"no {name} there"


def command_lines(page):
    """Shell commands on a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!-- wrong commands.*end of wrong commands -->", "", text, flags=re.DOTALL)
    lines = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    lines += re.findall(r"`((?:sngan|python -m|sbatch|mpirun|pip) [^`]+)`", text.replace("\n", " "))
    if page.name == "paper.md":  # where the command is left out
        lines += ["sngan train --workdir=a " + given.replace("METHOD", "sn").replace("SETTING", "A")
                  for given in re.findall(r"`(--config=[^`]+)`", text)]
    for line in lines:
        # Square brackets hold what may be left out; an ellipsis stands for a value, or for more.
        line = re.sub(r"\[(--[^\]]*)\]", r"\1", line)
        line = line.replace("--config=…", "--config=digits")
        yield from (part.strip() for part in line.replace("=…", "=a").split("&&"))


def programs(page):
    """The modules of this project that the lines start, with their arguments."""
    for line in command_lines(page):
        words = re.sub(r" ….*", "", line).split(" ")
        if "sbatch" in words:
            script = next(word for word in words if word.endswith(".sh"))
            assert (ROOT / script).is_file(), f"{page.name}: {line}"
            rest = line.split(script)[1]
            if rest.strip(" …"):
                yield f"sngan train{rest}"
        elif match := re.search(r"python3? -m ((?:experiments|tests)\.?\S*.*)|(sngan .*)",
                                " ".join(words)):
            yield match[1] or match[2]


def test_every_command_is_accepted_by_its_program():
    commands = {command for page in PAGES for command in programs(page) if "=" in command}
    commands |= {"sngan sample --workdir=runs/digits --num-samples=5"}  # wrong: must be found
    assert len(commands) > 40
    refused = {command: said for command in sorted(commands)
               if (said := program("tests.commands", command)).returncode}
    assert list(refused) == ["sngan sample --workdir=runs/digits --num-samples=5"], refused


def test_every_program_and_extra_that_is_named_is_there():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = set(config["options.extras_require"])
    for page in PAGES:
        for name in re.findall(r"-m ((?:experiments|tests)\.[\w.]+\w)", page.read_text()):
            place = ROOT / name.replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), name
        for line in command_lines(page):
            if line.startswith("pip install"):
                for word in shlex.split(line):
                    for given in re.findall(r"^\.\[(.+)\]$", word):
                        assert set(given.split(",")) <= extras, f"{page.name}: {line}"


@pytest.mark.slow
def test_the_dry_run_of_a_table(tmp_path):
    command = next(c for c in programs(ROOT / "docs" / "reproduce.md") if c.endswith("--dry-run"))
    _, *arguments = command.replace("runs/table2", str(tmp_path)).split()
    done = program("experiments", *arguments)
    assert done.returncode == 0 and "sn,C" in done.stdout, done.stdout + done.stderr


def anchors(page):
    """Fragments of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_that_is_linked_exists():
    for page in PAGES:
        for target in re.findall(r"\]\(([^):]+)\)", page.read_text()):
            file, _, fragment = target.partition("#")
            other = page.parent / file if file else page
            assert other.exists(), f"{page.name} links to {target}"
            assert not fragment or fragment in anchors(other), f"{page.name} links to {target}"


def test_links_are_called_by_titles():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for page in [*PAGES, *notebooks]:
        found = re.findall(r"\[`?[\w/.]+\.(?:md|ipynb)`?\]\([^)]+\)", page.read_text())
        assert not found, f"{page.name}: {found}"


def test_a_notebook_leads_to_colab_where_the_repository_has_an_address():
    path = Path("notebooks/01_why_lipschitz.ipynb")
    text = (site_pages.ROOT / path).read_text()
    assert "Colab" not in site_pages.notebook_page(text, path, "")
    page = json.loads(site_pages.notebook_page(text, path, "https://github.com/a/b"))
    assert ("https://colab.research.google.com/github/a/b/blob/HEAD/notebooks/01_why_lipschitz"
            ".ipynb") in page["cells"][1]["source"]
    assert len(page["cells"]) == len(json.loads(text)["cells"]) + 1


def test_the_badges_say_what_setup_says():
    for path, text in badges.badges().items():
        assert path.read_text() == text, "run: python docs/badges.py"
        assert f"(docs/images/{path.name})" in (ROOT / "README.md").read_text()


def test_the_table_of_fields_is_that_of_the_code():
    page = config_table.PAGE.read_text()
    assert page == config_table.page_with_table(page), "run: python docs/config_table.py"
    for file in (ROOT / "experiments" / "configs").glob("[!_]*.py"):
        assert f"`{file.name}" in page, f"configs.md does not name {file.name}"


def test_the_hours_are_those_of_the_records_and_the_plans():
    page = hours_table.PAGE.read_text()
    assert page == hours_table.page_with_tables(page), "run: python docs/hours_table.py"
    records = hours_table.read_records()
    for (row, place), record in records.items():
        own = hours_table.seconds(records, row, record["n_dis"])
        np.testing.assert_allclose(own[place], 1 / record["iterations_per_second"], rtol=1e-3)
    # The H100's are measured.
    base, n_dis, rate = hours_table.MEASURED["cnn"]
    measured = hours_table.seconds(records, base, n_dis)[hours_table.H100]
    np.testing.assert_allclose(measured, 1 / rate)


def test_the_launches_are_those_of_the_records():
    page = launch_table.PAGE.read_text()
    assert page == launch_table.page_with_tables(page), "run: python docs/launch_table.py"


def test_one_version_everywhere():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == sngan_jax.__version__
    assert f"\nversion: {sngan_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {sngan_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("docstring, wanted", [
    ("W of `d_out` rows, |W|, x_ and *all*.", "W of ``d_out`` rows, \\|W\\|, x\\_ and *all*."),
    ("The `key`s.", "The ``key``\\ s."),
    ("A sum.\n\nArgs:\n  x, y: (n,), with\n    a second line.\n\nReturns:\n  a scalar.",
     "A sum.\n\n**Args**\n\n``x, y``\n   (n,), with\n   a second line.\n\n**Returns**\n\n"
     "a scalar."),
    ("Data: a set.\n\nReturns:\n  an array, or\n    None.",
     "Data: a set.\n\n**Returns**\n\nan array, or\nNone."),
    ("Start:\n\n    python -m this *\n\nand read.",
     "Start:\n\n::\n\n   python -m this *\n\nand read."),
    ("| a | b |\n|---|---|", "::\n\n   | a | b |\n   |---|---|"),
])
def test_a_docstring_is_plain_text(docstring, wanted):
    assert to_rst(docstring).strip() == wanted
