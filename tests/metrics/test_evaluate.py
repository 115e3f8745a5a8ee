"""Records of scores: of images, of statistics files, of a generator's samples."""

import dataclasses
import json
import re
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sngan_jax.activation_norms import BatchNorm, ConditionalBatchNorm
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import WriteError
from sngan_jax.data.image_set import ImageSet, Reading
from sngan_jax.metrics import evaluate
from sngan_jax.metrics.evaluate import (
    append_record,
    chosen_rows,
    count_of,
    export,
    of_images,
    of_samples,
    of_statistics,
    open_images,
    score,
    score_table,
)
from sngan_jax.metrics.frechet import frechet_distance, moments
from sngan_jax.metrics.kid import kernel_distance
from sngan_jax.metrics.protocol import CONVENTIONS, PROTOCOLS, Protocol, protocol_of
from sngan_jax.models.resnet import ResNetGenerator
from sngan_jax.step.sampling import NotFiniteError, even_labels, sample_images
from sngan_jax.step.state import GeneratorState
from tests.metrics.fake_extractor import mean_extractor

FREE = protocol_of("free")
CONFIG = SimpleNamespace(latent_size=5, latent="normal", bn_evaluation="running", bn_decay=0.9,
                         ema_decay=0.9, seed=3, method="sn", dataset="digits")


def image_set(n, seed=0, classes=2):
    images = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), np.uint8)
    labels = np.arange(n, dtype=np.int32) % classes if classes else None
    return ImageSet(images, labels, classes, f"set{seed}")


@pytest.fixture(scope="module")
def model():
    g = ResNetGenerator(8, 3, (4, 4), num_classes=2, last_norm=BatchNorm,
                        norm=partial(ConditionalBatchNorm, 2))
    variables = g.init(jax.random.key(0), jnp.zeros((1, 5)), jnp.zeros(1, int))
    other = jax.tree.map(lambda x: 1.5 * x, variables["params"])
    return g, GeneratorState(variables["params"], variables.get("batch_stats", {}), None, other,
                             variables.get("batch_stats", {}))


def test_two_sets_of_images():
    a, b, extractor = image_set(30), image_set(40, 1), mean_extractor()
    metrics = ["fid", "is", "kid", "intra_fid"]
    real = of_images(b, "train", 0, metrics, extractor)
    fake = of_images(a, "train[:30]", 20, metrics, extractor, num_logits=30, seed=4)
    record = score(metrics, real, fake, extractor, protocol_of("free", splits=3), seed=4)
    order = chosen_rows(30, 30, 4)
    means = a.images[order].astype(np.float64).mean((1, 2))
    expected = frechet_distance(moments(b.images.astype(np.float64).mean((1, 2))),
                                moments(means[:20]))
    assert record["scores"]["fid"] == pytest.approx(expected, rel=1e-4)
    assert record["n_score"] == 30 and record["splits"] == 3 and record["kid_seed"] == 4
    assert record["fake"] == {"images": "set0", "split": "train[:30]", "n": 20, "seed": 4,
                              "fingerprint": a.fingerprint(), "size": [4, 4], "fit": "crop",
                              "alpha": "white", "plain": False}
    assert record["real"]["n"] == 40 and record["real"]["seed"] is None
    np.testing.assert_array_equal(fake.labels, a.labels[order][:20])
    assert record["commit"] and record["date"] and record["checksum"] == "0"
    json.dumps(record)


def test_the_order_of_classes_in_a_set_does_not_reach_the_inception_score():
    rows = chosen_rows(1000, 1000)
    assert sorted(rows) == list(range(1000)) and abs(rows[:100].mean() - 500) < 100


def test_fewer_images_than_the_protocol_needs():
    with pytest.raises(UserError, match=r"protocol paper needs 10,000 images, but set0, split "
                                        r"'test', has 30: choose another split, or"):
        of_images(image_set(30), "test", PROTOCOLS["paper"].num_real, ["fid"], mean_extractor(),
                  protocol="paper")


def test_statistics_are_cached_by_all_they_depend_on(tmp_path, monkeypatch):
    a, extractor = image_set(30), mean_extractor()
    first = of_images(a, "train", 0, ["fid"], extractor, cache=tmp_path)
    collect = evaluate.collect
    monkeypatch.delattr(evaluate, "collect")
    again = of_images(a, "train", 0, ["fid"], extractor, cache=tmp_path, seed=9)
    np.testing.assert_array_equal(first.collected.moments.covariance,
                                  again.collected.moments.covariance)
    for images, split, num, metrics, options in [
            (image_set(30, 1), "train", 0, ["fid"], {}), (a, "test", 0, ["fid"], {}),
            (a, "train", 20, ["fid"], {}), (a, "train", 0, ["kid"], {}),
            (a, "train", 0, ["fid"], {"checksum": "1"})]:
        with pytest.raises(NameError):
            of_images(images, split, num, metrics, mean_extractor(**options), cache=tmp_path)
    monkeypatch.setattr(evaluate, "collect", collect, raising=False)
    one = of_images(a, "train", 20, ["fid"], extractor, cache=tmp_path)
    two = of_images(a, "train", 20, ["fid"], extractor, cache=tmp_path, seed=1)
    assert (one.collected.moments.mean != two.collected.moments.mean).any()


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    side = of_images(image_set(30), "train", 0, ["fid"], mean_extractor(), cache=tmp_path / "file")
    assert side.collected.moments.n == 30
    assert re.fullmatch(r"warning: the statistics file \S*/file/\S* cannot be written \(.*\): "
                        "choose another place, with SNGAN_JAX_CACHE\n", capsys.readouterr().err)


def test_statistics_files_stand_for_images(tmp_path):
    extractor = mean_extractor()
    sides = [of_images(image_set(30, seed), "train", 0, ["fid"], extractor) for seed in (0, 1)]
    for i, side in enumerate(sides):
        export(tmp_path / f"{i}.npz", side.collected, side.about, extractor)
    stored = [of_statistics(tmp_path / f"{i}.npz", extractor) for i in (0, 1)]
    expected = score(["fid"], *sides, extractor, FREE)["scores"]
    record = score(["fid"], *stored, extractor, FREE)
    assert record["scores"] == expected
    assert record["real"]["images"] == "set0" and record["real"]["n"] == 30
    with pytest.raises(UserError, match="kid cannot be computed from a statistics file"):
        score(["fid", "kid"], *stored, extractor, FREE)


def test_samples_say_all_that_they_depend_on(model):
    extractor, protocol = mean_extractor(), Protocol("p", None, 0, 6, 10, 2)
    real = of_images(image_set(30), "train", 0, ["fid", "is"], extractor)
    side = of_samples(*model, CONFIG, protocol, ["fid", "is"], extractor, seed=5, iteration=7)
    assert side.about == {"iteration": 7, "n": 6, "ema": 0.9, "bn_mode": "running", "seed": 5,
                          "training_seed": 3, "method": "sn", "dataset": "digits"}
    assert len(side.collected.logits) == 10 and side.collected.moments.n == 6
    images = sample_images(*model, jax.random.key(5), even_labels(10, 2), CONFIG)
    np.testing.assert_allclose(side.collected.moments.mean,
                               images[:6].astype(np.float64).mean((0, 1, 2)), rtol=1e-5)
    record = score(["fid", "is"], real, side, extractor, protocol)
    assert record["n_score"] == 10
    assert side.labels.tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(("ema", "mode"), [(False, None), (None, "batch"), (None, "standing")])
def test_moving_average_and_statistics_change_the_score(model, ema, mode):
    extractor, protocol = mean_extractor(), protocol_of("free", num_fake=20)
    plain = of_samples(*model, CONFIG, protocol, ["fid"], extractor)
    other = of_samples(*model, CONFIG, protocol, ["fid"], extractor, ema=ema, bn_mode=mode)
    assert np.abs(plain.collected.moments.mean - other.collected.moments.mean).max() > 0.1
    assert other.about["ema"] == (0.9 if ema is None else False)
    assert other.about["bn_mode"] == (mode or "running")


def test_nan_in_samples_is_one_sentence(model):
    g, state = model
    broken = state.replace(ema_params=jax.tree.map(lambda x: x * np.nan, state.ema_params))
    with pytest.raises(NotFiniteError, match=r"not finite .* use an earlier checkpoint"):
        of_samples(g, broken, CONFIG, protocol_of("free", num_fake=4), ["fid"], mean_extractor())
    of_samples(g, broken, CONFIG, protocol_of("free", num_fake=4), ["fid"], mean_extractor(),
               ema=False)


def test_no_moving_average_to_score(model):
    g, state = model
    with pytest.raises(UserError, match="kept no moving average"):
        of_samples(g, state.replace(ema_params=None), CONFIG, protocol_of("free", num_fake=4),
                   ["fid"], mean_extractor(), ema=True)


def test_the_number_of_samples_must_be_chosen(model):
    with pytest.raises(UserError, match="choose num_fake"):
        of_samples(*model, CONFIG, FREE, ["fid"], mean_extractor())


def test_a_distance_needs_something_to_be_from():
    fake = of_images(image_set(30), "train", 0, ["is"], mean_extractor())
    assert score(["is"], None, fake, mean_extractor(), FREE)["real"] is None
    with pytest.raises(UserError, match="needs images to compare with"):
        score(["fid"], None, fake, mean_extractor(), FREE)


def test_records_are_lines_and_a_table(tmp_path):
    real, fake = (of_images(image_set(30, seed), "train", 0, ["fid"], mean_extractor())
                  for seed in (0, 1))
    record = score(["fid", "is"], real, fake, mean_extractor(), FREE)
    for _ in range(2):
        append_record(tmp_path / "a" / "scores.jsonl", record)
    lines = (tmp_path / "a" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(json.dumps(record))] * 2
    head, row = score_table([record]).splitlines()
    assert head.split()[:2] == ["fid", "is"] and f"{record['scores']['fid']:.4g}" in row
    assert "30 of set0" in row and "±" in row
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        append_record(tmp_path / "file" / "scores.jsonl", record)


def test_kid_says_its_subsets():
    real, fake, extractor = image_set(30), image_set(12, 1), mean_extractor()
    protocol = dataclasses.replace(FREE, kid_subsets=7, kid_subset_size=20, convention="clean-fid")
    sides = [of_images(one, "train", 0, ["kid"], extractor) for one in (real, fake)]
    record = score(["kid"], *sides, extractor, protocol)
    assert (record["kid_subsets"], record["kid_subset_size"], record["convention"]) == (
        7, 12, "clean-fid")
    expected = kernel_distance(*(side.collected.features for side in sides), subsets=7,
                               subset_size=20)
    assert (record["scores"]["kid"], record["scores"]["kid_std"]) == expected


def test_images_of_their_own_sizes(tmp_path):
    """Images go through `prepare` on the host; features equal those of single images."""
    rng = np.random.default_rng(0)
    sizes, images = ((4, 4), (5, 3), (9, 7), (2, 2)), []
    for i, size in enumerate(sizes):
        images.append(rng.integers(0, 256, (*size, 3), np.uint8))
        Image.fromarray(images[-1]).save(tmp_path / f"{i}.png")
    opened = open_images(f"folder:{tmp_path}", own_sizes=True,
                         reading=CONVENTIONS["clean-fid"].reading)
    means = mean_extractor(prepare=lambda image: np.full((2, 2, 3), image.mean(), np.float32))
    side = of_images(opened, "train", 0, ["prdc"], means)
    expected = [[image.mean()] * 3 for image in images]
    np.testing.assert_allclose(np.sort(side.collected.features, 0), np.sort(expected, 0),
                               rtol=1e-5)
    assert side.about["size"] == "each its own" and side.about["alpha"] == "drop"
    with pytest.raises(UserError, match="differ in size: resize them to one size with --image"):
        of_images(opened, "train", 0, ["prdc"], mean_extractor())
    with pytest.raises(UserError, match="mixed sizes"):
        open_images(f"folder:{tmp_path}")


def test_the_alpha_of_pictures_moves_a_score_and_is_in_its_record(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 4), np.uint8)
    for i, image in enumerate(rgba):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    fids = {}
    for alpha in ("white", "black", "drop"):
        options = {"reading": Reading(alpha=alpha)}
        side = of_images(open_images(f"folder:{tmp_path}", **options), "train", 0, ["fid"],
                         mean_extractor(), cache=tmp_path / "cache")
        assert side.about["alpha"] == alpha
        fids[alpha] = side.collected.moments.mean
    np.testing.assert_allclose(fids["drop"], rgba[..., :3].mean((0, 1, 2)), rtol=1e-5)
    opaque = rgba[..., 3:] / 255
    np.testing.assert_allclose(fids["black"], (rgba[..., :3] * opaque).mean((0, 1, 2)), atol=0.5)
    np.testing.assert_allclose(fids["white"] - fids["black"], (255 * (1 - opaque)).mean(),
                               atol=0.5)


def test_how_many_images_a_folder_has(tmp_path):
    for i in range(5):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{i}.png")
    assert count_of(f"folder:{tmp_path}", "train[1:]") == 4 and count_of("digits", "train") is None


def test_a_folder_is_read_in_batches(tmp_path):
    images = image_set(5)
    for i, image in enumerate(images.images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    opened = open_images(f"folder:{tmp_path}")
    assert not isinstance(opened, ImageSet)
    a = of_images(opened, "train", 0, ["fid"], mean_extractor())
    b = of_images(images, "train", 0, ["fid"], mean_extractor())
    np.testing.assert_array_equal(a.collected.moments.covariance, b.collected.moments.covariance)
