"""The notebooks: committed ones contain their output, and all run from top to bottom."""

import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# A folder of the machine that executed it.
MACHINE = re.compile(r"/(tmp|root|home|work|Users)/")

each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@each_notebook
def test_committed_notebook_holds_its_outputs(file):
    text = file.read_text()
    cells = code_cells(json.loads(text))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    kinds = {output["output_type"] for output in outputs}
    assert "error" not in kinds
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not MACHINE.findall(text)
    assert len(text.encode()) < 1.5e6


@pytest.mark.slow
@pytest.mark.timeout(1500)  # twelve times what the longest takes alone: CI installs beside it
@each_notebook
def test_notebook_runs_from_top_to_bottom(file, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("SNGAN_NOTEBOOK_SMALL", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    # Not those of the tests: the notebooks run as a reader runs them.
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = nbformat.read(file, as_version=4)
    for cell in code_cells(notebook):
        cell["outputs"], cell["execution_count"] = [], None
    done = nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = code_cells(done)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
