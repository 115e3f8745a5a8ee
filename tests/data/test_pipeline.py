"""The on-device order of the examples, and the scaling of the paper."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params
from jax.sharding import Mesh, PartitionSpec
from scipy import stats

from sngan_jax.data.pipeline import (
    batch_indices,
    dequantize,
    epoch_permutation,
    example_keys,
    scale,
    to_uint8,
)

KEY = jax.random.key(7)


@functools.partial(jax.jit, static_argnames="n")
def permutations(key, epochs, n):
    return epoch_permutation(key, epochs[:, None], jnp.arange(n), n)


@functools.partial(jax.jit, static_argnames=("batch_size", "n", "count"))
def batches(key, numbers, batch_size, n, start=0, count=None):
    return jax.vmap(
        lambda number: batch_indices(
            key, number, batch_size=batch_size, n=n, start=start, count=count
        )
    )(numbers)


class TestEpochPermutation:
    @settings(deadline=None, max_examples=5)
    @given(n=st.integers(1, 3000), epoch=st.integers(0, 2**32 - 2), seed=st.integers(0, 2**31))
    def test_bijection(self, n, epoch, seed):
        epochs = jnp.array([epoch, epoch + 1], jnp.uint32)
        first, second = np.asarray(permutations(jax.random.key(seed), epochs, n))
        assert first.dtype == np.int32
        for order in (first, second):
            np.testing.assert_array_equal(np.sort(order), np.arange(n))
        assert n < 12 or (first != second).any()

    @pytest.mark.parametrize("n", [1, 255, 257, 512, 50_000])
    def test_bijection_at_the_borders_of_the_domain(self, n):
        order = np.asarray(permutations(KEY, jnp.array([0]), n)[0])
        np.testing.assert_array_equal(np.sort(order), np.arange(n))

    def test_largest_sets(self):
        for n in (2**30 + 1, 2**31 - 1):
            position = jnp.array([0, 1, 2**29, n - 1])
            place = np.asarray(epoch_permutation(KEY, 0, position, n)).tolist()
            assert all(0 <= p < n for p in place)
            assert len(set(place)) == 4

    @pytest.mark.parametrize("n", [0, -1, 2**31])
    def test_sizes_out_of_range(self, n):
        with pytest.raises(ValueError, match=f"n is {n}: a data set has at least 1"):
            epoch_permutation(KEY, 0, jnp.array([0]), n)

    @pytest.mark.parametrize("n", [3, 5, 6])
    def test_all_orders_of_a_few_are_equally_frequent(self, n):
        count = 30 * math.factorial(n)
        orders = np.asarray(permutations(KEY, jnp.arange(count), n))
        seen = np.unique(orders @ n ** np.arange(n), return_counts=True)[1]
        assert len(seen) == math.factorial(n)
        assert stats.chisquare(seen).pvalue > 1e-3

    @pytest.mark.parametrize("n", [100, 256])
    def test_shuffle(self, n):
        orders = np.asarray(permutations(KEY, jnp.arange(2000), n))
        places = np.zeros((n, n))
        np.add.at(places, (np.arange(n)[None], orders), 1)  # which image stands where
        statistic = ((places - 2000 / n) ** 2).sum() / (2000 / n)
        assert 1e-3 < stats.chi2.sf(statistic, (n - 1) ** 2) < 1 - 1e-3
        steps = (orders[:, 1:] - orders[:, :-1]) % n  # which image follows which
        assert stats.chisquare(np.bincount(steps.ravel(), minlength=n)[1:]).pvalue > 1e-3
        fixed = np.bincount(np.minimum((orders == np.arange(n)).sum(1), 5), minlength=6)
        poisson = np.append(stats.poisson.pmf(range(5), 1), stats.poisson.sf(4, 1))
        assert stats.chisquare(fixed, 2000 * poisson).pvalue > 1e-3

    def test_neighbouring_epochs_are_independent(self):
        n = 1000
        orders = np.asarray(permutations(KEY, jnp.arange(200), n))
        ranks = [stats.spearmanr(a, b).statistic for a, b in itertools.pairwise(orders)]
        assert abs(np.mean(ranks)) < 4 / math.sqrt(199 * n)
        assert stats.kstest(np.multiply(ranks, math.sqrt(n)), "norm").pvalue > 1e-3


class TestBatchIndices:
    @settings(deadline=None, max_examples=6)
    @given(n=st.integers(1, 200), batch_size=st.integers(1, 300))
    def test_every_epoch_has_each_image_once(self, n, batch_size):
        epochs = 4
        stream = np.asarray(batches(KEY, jnp.arange(-(-n * epochs // batch_size)), batch_size, n))
        assert stream.dtype == np.int32
        stream = stream.ravel()[: n * epochs].reshape(epochs, n)
        np.testing.assert_array_equal(np.sort(stream, 1), np.tile(np.arange(n), (epochs, 1)))

    @settings(deadline=None, max_examples=40)
    @given(
        number=st.integers(0, 2**31 - 1),
        shape=st.sampled_from(
            [(64, 50_000), (1024, 1_281_167), (4095, 2**31 - 1), (65, 3)]
        ),
    )
    def test_exact_for_every_batch_number(self, number, shape):
        batch_size, n = shape
        position = [number * batch_size + i for i in range(batch_size)]  # Python's integers
        epochs = jnp.array([p // n % 2**32 for p in position], jnp.uint32)
        places = jnp.array([p % n for p in position])
        expected = jax.jit(epoch_permutation, static_argnums=3)(KEY, epochs, places, n)
        result = batches(KEY, jnp.array([number], jnp.int32), batch_size, n)[0]
        np.testing.assert_array_equal(result, expected)

    @settings(deadline=None, max_examples=20)
    @given(start=st.integers(0, 96), number=st.integers(0, 2**31 - 1))
    def test_a_slice_is_a_slice_of_the_whole(self, start, number):
        numbers = jnp.array([number], jnp.int32)
        whole = batches(KEY, numbers, 128, 1797)
        part = batches(KEY, numbers, 128, 1797, start=start, count=32)
        np.testing.assert_array_equal(part, whole[:, start : start + 32])

    def test_in_scan_shard_map_and_pmap(self):
        devices = jax.local_devices()[:2]
        count = 64 // len(devices)
        expected = np.asarray(batches(KEY, jnp.arange(3), 64, 100))

        def shares(number):
            start = jax.lax.axis_index("batch") * count
            return batch_indices(KEY, number, batch_size=64, n=100, start=start, count=count)

        def scanned(first):
            return jax.lax.scan(lambda number, _: (number + 1, shares(number)), first, length=3)[1]

        firsts = jnp.zeros(len(devices), jnp.int32)

        mesh, spec = Mesh(np.array(devices), ("batch",)), PartitionSpec
        for check in (True, False):
            sharded = jax.jit(
                jax.shard_map(
                    shares, mesh=mesh, in_specs=spec(), out_specs=spec("batch"), check_vma=check
                )
            )
            np.testing.assert_array_equal(sharded(jnp.int32(2)), expected[2])
        mapped = jax.pmap(scanned, axis_name="batch", out_axes=1, devices=devices)
        np.testing.assert_array_equal(np.reshape(mapped(firsts), (3, 64)), expected)

    def test_raw_keys_and_traced_keys(self):
        raw = jax.random.PRNGKey(7)
        ours = functools.partial(batch_indices, batch_size=64, n=1797)
        np.testing.assert_array_equal(jax.jit(ours)(raw, 5), ours(KEY, 5))

    def test_seeds_differ(self):
        a, b = (batches(jax.random.key(s), jnp.arange(1), 64, 50_000) for s in (0, 1))
        assert (a != b).mean() > 0.9

    def test_no_epoch_is_sorted_or_held(self):
        """64 of 50,000: all arrays on the way are of the batch's size."""
        jaxpr = jax.make_jaxpr(functools.partial(batch_indices, KEY, batch_size=64, n=50_000))(3)
        sizes, names = [], set()

        def look(jaxpr):
            for equation in jaxpr.eqns:
                names.add(equation.primitive.name)
                sizes.extend(v.aval.size for v in equation.outvars)
                for inner in jaxprs_in_params(equation.params):
                    look(inner)

        look(jaxpr.jaxpr)
        assert len(sizes) > 20 and max(sizes) <= 64 * 8 and "sort" not in names

    @pytest.mark.parametrize("batch_size", [0, -3, 2**31])
    def test_batch_size_out_of_range(self, batch_size):
        with pytest.raises(ValueError, match=f"batch_size is {batch_size}: it must be positive"):
            batch_indices(KEY, 0, batch_size=batch_size, n=10, count=1)


LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
IMAGES = np.tile(LEVELS, (400, 1, 1, 1))


@pytest.fixture(scope="module")
def noisy():
    return np.asarray(jax.jit(dequantize)(IMAGES, example_keys(KEY, 0, 400)))


class TestScaling:
    def test_dequantize_is_the_papers(self, noisy):
        assert noisy.dtype == np.float32
        assert noisy.min() >= -1
        assert noisy.max() < 1
        noise = (noisy - (np.asarray(IMAGES, np.float32) / 128 - 1)) * 128
        assert noise.min() >= 0
        assert noise.max() < 1
        assert stats.kstest(noise.ravel(), "uniform").pvalue > 1e-3
        # Fresh for every value: no two neighbours, pixels or examples, go together.
        assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 4 / 16
        assert abs(np.corrcoef(noise[:, 0, 0, 0], noise[:, 0, 1, 0])[0, 1]) < 4 / 20

    def test_to_uint8_is_the_exact_inverse(self, noisy):
        np.testing.assert_array_equal(to_uint8(noisy), IMAGES)
        np.testing.assert_array_equal(to_uint8(scale(LEVELS)), LEVELS)
        assert to_uint8(noisy).dtype == jnp.uint8

    def test_scale_is_the_mean_of_dequantize(self, noisy):
        atol = 5 / 128 / math.sqrt(12 * 400)
        np.testing.assert_allclose(noisy.mean(0), scale(LEVELS)[0], atol=atol)
        assert scale(LEVELS).dtype == jnp.float32

    def test_to_uint8_clips(self):
        values = jnp.array([-5.0, -1.0, -0.9999, 0.0, 0.9999, 1.0, 7.0])
        assert to_uint8(values).tolist() == [0, 0, 0, 128, 255, 255, 255]
        assert to_uint8(values.astype(jnp.bfloat16)).dtype == jnp.uint8

    def test_randomness_belongs_to_the_example(self):
        whole = jax.random.key_data(example_keys(KEY, 0, 64))
        part = jax.random.key_data(jax.jit(lambda s: example_keys(KEY, s, 16))(32))
        np.testing.assert_array_equal(part, whole[32:48])
        assert len(np.unique(np.asarray(whole), axis=0)) == 64
        images = IMAGES[:64]
        keys = example_keys(KEY, 0, 64)
        alone = dequantize(images[32:48], keys[32:48])
        np.testing.assert_array_equal(dequantize(images, keys)[32:48], alone)
