"""Tests compile many small functions and run each a few times: XLA need not optimize them."""

import fcntl
import gc
import os
import tempfile

import jaxlib.version

_FLAGS = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
if jaxlib.version.__version__.startswith("0.10."):  # XLA aborts on an unknown flag
    # A third less time to compile a training step.
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS]).strip()
# What one test, worker or program of the tests has compiled, the others read; also the many small
# operations, which are most of it.
_CACHE = tempfile.TemporaryDirectory(prefix="sngan_jax_tests_")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import experiments  # noqa: E402, F401  (first: it keeps JAX from libtpu)
from tests.shapes import check_shapes  # noqa: E402  (before the library)

check_shapes()

import jax  # noqa: E402  (reads the flags above)
import pytest  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

from tests.ignored_signals import hear_ignored_signals  # noqa: E402
from tests.programs import program, share_mlir_context  # noqa: E402
from tests.small_model import small_model  # noqa: E402

hear_ignored_signals()
share_mlir_context()
# Tracing makes many objects, few of them garbage: collecting at Python's own pace is 7 % of the
# time.
gc.set_threshold(50_000)

# A run of four iterations with two checkpoints, of a conditional model, that tests look at.
FINISHED = {
    "generator_width": 2, "discriminator_width": 2, "latent_size": 4, "batch_size": 4,
    "generator_batch_size": 4, "n_dis": 1, "iterations": 4, "log_every": 2, "sample_every": 2,
    "checkpoint_every": 2, "num_samples": 9, "ema_decay": 0.0, "lr_decay_start": 1.0}


# Files that take longest, of each group, go first: one that is left at the end keeps a worker idle.
LONGEST = (
    "test_paper_sizes.py", "test_methods.py", "test_resume.py", "test_iteration.py",
    "test_loop.py", "test_faults.py", "test_devices.py", "test_distributed.py",
    "test_notebooks.py", "test_tpu_check.py", "test_models.py", "test_network.py",
    "test_evaluate.py", "test_sngan_projection.py", "test_docs.py", "test_nnx.py",
    "test_layers.py", "test_spectral.py", "test_nnx_transforms.py", "test_weights.py",
    "test_layers_transforms.py", "test_evaluation.py", "test_layers_options.py",
    "test_start_from.py", "test_checkpoint.py", "test_pipeline.py", "test_programs.py",
    "test_parts.py", "test_generator_layers.py", "test_resample.py", "test_convolution.py",
    "test_augment.py", "test_examples.py", "test_spectra.py", "test_sampling.py",
    "test_lipschitz.py", "test_typing.py", "test_site.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST
               else len(LONGEST))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The workdir of a finished run of `experiments.train`, made once for all workers: read only.

    The program's output is beside it, in `finished.txt`.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    workdir, said = shared / "finished", shared / "finished.txt"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            done = program(
                "experiments.train", "--config=experiments/configs/digits.py:conditional",
                f"--workdir={workdir}", *(f"--config.{k}={v}" for k, v in FINISHED.items()))
            assert done.returncode == 0, done.stderr
            said.write_text(done.stdout)
    return workdir


@pytest.fixture(scope="module")
def small():
    """Makes `config.model = "small"` mean the model of tests/small_model.py."""
    with small_model():
        yield


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """A worker that keeps thousands of compiled programs has 5 GB, and XLA has crashed in it."""
    yield
    jax.clear_caches()
    getattr(mlir.make_ir_context, "cache_clear", lambda: None)()


@pytest.fixture
def no_compilation_cache():
    """Turns the cache off for large programs, whose serialization is slow and has crashed XLA."""
    jax.config.update("jax_enable_compilation_cache", False)
    jax.clear_caches()
    yield
    jax.clear_caches()
    jax.config.update("jax_enable_compilation_cache", True)
