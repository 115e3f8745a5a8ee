"""The published numbers: a handful against the papers, and their agreement with our tables."""

import pytest

from experiments.paper import Value, imagenet, lucic2018, table1, table2, table7, table8
from sngan_jax.losses import LOSSES
from sngan_jax.methods import METHODS

TABLES = {"2": table2, "7": table7, "8": table8, "imagenet": imagenet, "lucic": lucic2018}


def row(table, label):
    (found,) = (row for row in table.ROWS if row.label.strip() == label)
    return found


@pytest.mark.parametrize(("table", "label", "column", "value"), [
    (table2, "Real data", ("IS", "stl10"), Value(26.08, 0.26)),
    (table2, "WGAN-GP", ("FID", "stl10"), Value(55.1)),
    (table2, "SN-GANs", ("IS", "cifar10"), Value(7.42, 0.08)),
    (table2, "SN-GANs, Eq. (17), ResNet", ("FID", "cifar10"), Value(21.7, 0.21)),
    (table2, "SN-GANs, Eq. (17) (2x updates)", ("IS", "stl10"), Value(8.79, 0.14)),
    (table7, "w/ Spectral Norm.", ("IS", "cifar10"), None),  # two rows, told by architecture
    (table8, "AC-WGAN-GP (ResNet, baseline)", ("FID", "cifar10"), Value(19.5)),
    (imagenet, "SN-GAN, projection, 850,000 iterations", ("IS", "imagenet128"), Value(36.8)),
    (lucic2018, "WGAN", ("FID", "fashion_mnist"), Value(21.5))])
def test_numbers_of_the_papers(table, label, column, value):
    if value is not None:
        assert row(table, label).values[column] == value
        return
    by_network = {r.architecture: r.values[column] for r in table.ROWS if r.label.strip() == label}
    assert by_network == {"cnn": Value(7.20, 0.08), "resnet": Value(7.85, 0.06)}


def test_what_the_paper_left_empty_is_absent():
    for label in ("GAN-GP", "Batch Norm."):
        assert set(row(table2, label).values) == {("IS", "cifar10"), ("FID", "cifar10")}
    collapsed = row(table7, "w/ Frobenius Norm.")
    assert not collapsed.values and "collapsed" in collapsed.footnote
    assert sum("(2x updates)" in r.label for r in table2.ROWS) == 3
    assert {r.label for r in table2.ROWS if r.quoted_from} == {
        "DCGAN", "LR-GANs", "Warde-Farley & Bengio", "WGAN-GP (ResNet)"}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_are_told_apart_and_name_what_there_is(table):
    keys = [(r.label, r.architecture, r.quoted_from) for r in table.ROWS]
    assert len(set(keys)) == len(keys)
    for r in table.ROWS:
        assert r.method in {"", *METHODS} and r.loss in {"", *LOSSES}
        assert r.architecture in ("", "cnn", "resnet")
        for (metric, _), value in r.values.items():
            assert metric in ("IS", "FID", "intra-FID")
            assert value.mean > 0 and (value.std is None or 0 < value.std < 0.1 * value.mean)
        assert r.values or r.footnote


def test_the_best_of_the_paper_is_its_residual_network():
    for dataset in ("cifar10", "stl10"):
        measured = [r for r in table2.ROWS if r.method and ("FID", dataset) in r.values]
        assert min(measured, key=lambda r: r.values["FID", dataset]).label == (
            "SN-GANs, Eq. (17), ResNet")


def test_the_two_prints_of_one_baseline_differ_and_say_so():
    two, seven = row(table2, "WGAN-GP"), row(table7, "WGAN-GP (standard CNN, baseline)")
    column = ("FID", "cifar10")
    assert (two.values[column].mean, seven.values[column].mean) == (40.2, 40.1)
    assert "40.1" in two.footnote and "40.2" in seven.footnote


def test_table_1_is_that_of_the_configs():
    assert set(table1.SETTINGS) == set(table1.ORIGINS) == set("ABCDEF")
    assert table1.SETTINGS["F"]._asdict() == {
        "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "n_dis": 5}
