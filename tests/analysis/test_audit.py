"""The record of an audit and its table."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.paper import paper_defaults
from experiments.reports.audit import as_markdown
from sngan_jax.analysis.audit import audit, check_images
from sngan_jax.base.errors import UserError
from sngan_jax.models.build import build_models
from tests.analysis.test_spectra import filled


def _record(method, **options):
    config = paper_defaults()
    config.update({"model": "resnet32", "image_size": 8, "discriminator_width": 2,
                   "method": method})
    d = build_models(config, channels=1, num_classes=0)[1].clone(widths=(2, 2), downsampling=1)
    variables = filled(d, jnp.zeros((1, 8, 8, 1)))
    rng = np.random.default_rng(0)
    real, samples = (rng.uniform(-1, 1, (5, 8, 8, 1)).astype(np.float32) for _ in range(2))
    return audit(d, variables, (real, None), (samples, None), ascent_steps=2, seed=1, **options)


def test_the_record_is_whole_and_its_table_says_it():
    record = json.loads(json.dumps(_record("none")))
    assert [layer["name"] for layer in record["layers"]] == [
        "block1/conv1", "block1/conv2", "block1/shortcut", "block2/conv1", "block2/conv2",
        "head/dense"]
    for layer in record["layers"]:
        values = layer["singular_values"]
        assert values == sorted(values, reverse=True) and values[0] == layer["sigma"]
        assert 1 <= layer["stable_rank"] <= len(values)
        assert layer["operator_norm"] >= layer["sigma"] * (1 - 1e-6) > 0
    norms = record["gradient_norm"]
    assert norms["ascent"] >= max(norms[name] for name in ("real", "samples", "between")) > 0
    assert record["lower_bound"] == max(*norms.values(), record["pair_ratio"])
    assert record["lower_bound"] <= record["upper_bound"] and record["why"] is None
    assert record["protocol"]["real"] == 5 and record["protocol"]["ascent_steps"] == 2
    text = as_markdown(record)
    assert "| block1/conv1 | Conv | 3x3x1x2 |" in text and "No upper bound" not in text
    assert f"| lower bound: the largest of the five | {record['lower_bound']:,.4g} |" in text


def test_where_there_is_no_bound_the_record_says_why_and_measures():
    record = _record("layer_norm")
    assert record["upper_bound"] is None and record["upper_bound_reshaped"] is None
    assert "layer norm" in record["why"] and record["lower_bound"] > 0
    assert "| upper bound: product of operator norms | none |" in as_markdown(record)
    assert as_markdown(record).endswith("is useless.")


X, Y = np.zeros((3, 8, 8, 1), np.float32), np.array([0, 1, 2])


@pytest.mark.parametrize(("real", "samples", "message"), [
    ((X.astype(np.uint8), None), (X, None), "real images are uint8"),
    ((X, None), (X[:0], None), r"samples are float32 of shape \(0, 8, 8, 1\)"),
    ((X[0], None), (X, None), r"of shape \(8, 8, 1\)"),
    ((X + 2, None), (X, None), r"real images have pixels outside \[-1, 1\]"),
    ((X, None), (X * np.nan, None), "samples have pixels .* not finite"),
    ((X, None), (X[:, :4], None), r"the samples have the shape \(4, 8, 1\)"),
    ((X, Y), (X, None), "no labels: give samples like the real images"),
    ((X, Y[:2]), (X, Y), "the labels of the real images"),
    ((X, Y), (X, Y + 1), "the labels of the samples"),
    ((X, Y * 0.5), (X, Y), "float64")])
def test_images_that_cannot_be_measured(real, samples, message):
    with pytest.raises(UserError, match=message):
        check_images(real, samples, 3)
    check_images((X, Y), (X, Y), 3)
