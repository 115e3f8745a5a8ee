"""Scores by name, each against its function; impossible scores are refused at once."""

import numpy as np
import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.metrics.extractor import collect
from sngan_jax.metrics.frechet import frechet_distance, moments
from sngan_jax.metrics.inception_score import inception_score
from sngan_jax.metrics.kid import kernel_distance
from sngan_jax.metrics.prdc import prdc
from sngan_jax.metrics.scores import (
    FEW,
    check_metrics,
    compute,
    default_metrics,
    intra_fid,
    keeps_features,
)
from tests.metrics.fake_extractor import mean_extractor


def _collected(n, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), np.uint8)
    return collect(mean_extractor(), [images], keep=True)


def test_all_in_one_pass():
    real, fake = _collected(40, 0), _collected(30, 1)
    real_labels, fake_labels = np.arange(40) % 2, np.arange(30) % 2
    scores = compute(("fid", "is", "kid", "prdc", "intra_fid"), real, fake,
                     real_labels=real_labels, fake_labels=fake_labels, splits=3, seed=5)
    assert scores["fid"] == frechet_distance(real.moments, fake.moments)
    assert (scores["is"], scores["is_std"]) == inception_score(fake.logits, 3)
    assert (scores["kid"], scores["kid_std"]) == kernel_distance(real.features, fake.features,
                                                                 seed=5)
    assert scores.items() >= prdc(real.features, fake.features, 5)._asdict().items()
    each = [frechet_distance(moments(real.features[c::2]), moments(fake.features[c::2]))
            for c in (0, 1)]
    assert scores["intra_fid"] == pytest.approx(np.mean(each))
    assert list(scores["intra_fid_of_class"]) == [0, 1]
    assert compute(("fid",), real, fake) == {"fid": scores["fid"]}


def test_two_halves_of_the_real_images():
    real, fake = _collected(41, 0), _collected(30, 1)
    scores = compute(("kid", "fid_halves"), real, fake, seed=3, kid_subsets=4, kid_subset_size=9)
    order = np.random.default_rng(3).permutation(41)
    halves = [moments(real.features[part]) for part in (order[:20], order[20:])]
    assert scores["fid_halves"] == frechet_distance(*halves)
    assert (scores["kid"], scores["kid_std"]) == kernel_distance(
        real.features, fake.features, subsets=4, subset_size=9, seed=3)


def test_the_default_is_what_the_number_of_images_allows():
    for family, usual in (("inception", "fid"), ("classifier", "fcd")):
        assert default_metrics(family, None)[0] == default_metrics(family, FEW)[0] == usual
        few = default_metrics(family, FEW - 1)
        assert few[0] in ("kid", "kcd") and few[1] == "prdc" and usual in few
        check_metrics(few, mean_extractor(family=family), labels=False)


def test_which_scores_need_every_feature():
    assert not keeps_features(("fid", "is"))
    assert keeps_features(("fid", "kid"))


@pytest.mark.parametrize(("metrics", "options", "message"), [
    (("fed",), {}, "'fed'"), ((), {}, "no metric"), (("intra_fid",), {"labels": False}, "labels"),
    (("fid", "kid"), {"statistics_only": True}, "kid cannot be computed")])
def test_what_cannot_be_computed(metrics, options, message):
    with pytest.raises(UserError, match=message):
        check_metrics(metrics, mean_extractor(), **{"labels": True, **options})


def test_the_inception_score_needs_the_head():
    check_metrics(("fid", "is"), mean_extractor(), labels=False)
    with pytest.raises(UserError, match="head"):
        check_metrics(("fid", "is"), mean_extractor(num_classes=0), labels=False)


def test_too_few_images():
    few, many = _collected(4, 0), _collected(40, 1)
    for metric in ("is", "prdc"):
        with pytest.raises(UserError, match="too few images"):
            compute((metric,), many, few)
    labels = np.zeros(5, int)
    with pytest.raises(UserError, match="class 1 has 1 real and 0 generated"):
        intra_fid(np.ones((3, 2)), np.array([0, 0, 1]), np.ones((5, 2)), labels)
