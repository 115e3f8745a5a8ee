"""The code blocks of the documentation run, each page from top to bottom."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from sngan_jax.methods import METHODS
from sngan_jax.train.workdir import read_metrics

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("docs/*.md"), ROOT / "README.md"})


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_code_blocks_run(page, tmp_path):
    names = {}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), names)
    if page.name == "layers.md":
        check_layers_page(names)
    if page.name == "extend.md":
        check_extend_page(names, tmp_path)


def check_layers_page(names):
    variables = {"params": names["params"], "spectral": names["spectral"]}
    assert set(names["sigmas"](variables)) == {"SNConv_0", "SNConv_1", "SNDense_0"}
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


def check_extend_page(names, folder):
    """The method trains through the program's own function, and divides by what it says."""
    try:
        assert names["short_run"]("mean_norm", folder / "run")
    finally:
        METHODS.pop("mean_norm")
    assert all(np.isfinite(row["d_loss"]) for row in read_metrics(folder / "run"))
    layer = names["divided_by_mean_norm"](SimpleNamespace(lipschitz=2.0)).dense(3, use_bias=False)
    variables = layer.init(jax.random.key(0), np.eye(5))
    w = np.asarray(variables["params"]["kernel"])
    np.testing.assert_allclose(
        layer.apply(variables, np.eye(5)),
        4 * w / (np.linalg.svd(w, compute_uv=False)[0] + np.linalg.norm(w)), rtol=1e-5)


def test_every_page_that_is_linked_exists():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
