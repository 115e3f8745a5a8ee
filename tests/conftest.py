"""Tests compile many small functions and run each a few times: XLA need not optimise them."""

import os
import tempfile

os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
                           " --xla_llvm_disable_expensive_passes=true").strip()
# What one test, worker or program of the tests has compiled, the others read; also the many small
# operations, which are most of it.
_CACHE = tempfile.TemporaryDirectory(prefix="sngan_jax_tests_")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import experiments  # noqa: E402, F401, I001  (first: it keeps JAX from libtpu)
import jax  # noqa: E402  (reads the flags above)
import pytest  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """A worker that keeps thousands of compiled programs has 5 GB, and XLA has crashed in it."""
    yield
    jax.clear_caches()


@pytest.fixture
def no_compilation_cache():
    """For large programs, whose serialisation is slow and has crashed XLA."""
    jax.config.update("jax_enable_compilation_cache", False)
    jax.clear_caches()
    yield
    jax.clear_caches()
    jax.config.update("jax_enable_compilation_cache", True)
