"""Spectral normalization of this and of other libraries, measured on the same weights.

    python -m venv peers && peers/bin/pip install -e . dm-haiku torch
    peers/bin/python -m docs.compare_sn

Prints a Markdown table, one column for each library; those not installed are left out and named.
Everything is measured through the layers' outputs alone: a bias-free dense layer applied to the
identity gives the weight that it uses, and a transposed convolution whose stride is its kernel
size, applied to single pixels, gives its kernel.
"""

import argparse
import importlib.util
import platform
from datetime import date
from importlib.metadata import version

import jax
import numpy as np

from docs.sn_peers import PEERS

INPUTS, OUTPUTS, STEPS = 96, 64, 300


def sigma(matrix: np.ndarray) -> float:
    """The largest singular value, in float64; NaN if the matrix holds one."""
    matrix = np.asarray(matrix, np.float64)
    return float(np.linalg.norm(matrix, 2)) if np.isfinite(matrix).all() else float("nan")


def weight(scale: float = 1.0) -> np.ndarray:
    """A Gaussian kernel (INPUTS, OUTPUTS), float32, of spectral norm `scale`."""
    kernel = np.random.default_rng(0).normal(size=(INPUTS, OUTPUTS))
    return (scale * kernel / np.linalg.norm(kernel, 2)).astype(np.float32)


def after_init(peer) -> str:
    """σ of the used weight at the first evaluation."""
    return f"{sigma(peer.dense(weight(3.0)).evaluate(np.eye(INPUTS))):.4f}"


def after_training(peer) -> str:
    """σ of the used weight once converged."""
    layer = _trained(peer.dense(weight(3.0)), np.eye(INPUTS))
    return f"{sigma(layer.evaluate(np.eye(INPUTS))):.4f}"


def stored_weight(peer) -> str:
    """σ of the stored weight, given a weight with σ = 3: at init, and after an evaluation."""
    layer = peer.dense(weight(3.0))
    start = sigma(layer.stored())
    layer.evaluate(np.eye(INPUTS))
    return f"{start:.3g}, {sigma(layer.stored()):.3g}"


def repeatable(peer) -> str:
    """Whether two evaluations in a row give the same bits."""
    layer = peer.dense(weight(3.0))
    first, second = (np.asarray(layer.evaluate(np.eye(INPUTS))) for _ in range(2))
    return "yes" if (first == second).all() else f"no ({np.abs(first - second).max():.1g})"


def products(peer) -> str:
    """Products of a matrix and a vector at evaluation, besides the layer's own product."""
    layer = peer.dense(weight(3.0))
    count = getattr(layer, "evaluation_products", None)
    return "not counted" if count is None else str(count(np.eye(INPUTS)) - 1)


def small_weight(scale: float):
    """σ of the used weight if the stored weight has a small norm."""
    def measure(peer) -> str:
        layer = _trained(peer.dense(weight(scale)), np.eye(INPUTS))
        return f"{sigma(layer.evaluate(np.eye(INPUTS))):.4g}"
    return measure


def zero_weight(peer) -> str:
    """Output for W = 0."""
    out = np.asarray(peer.dense(weight(0.0)).train(np.eye(INPUTS)))
    return "0" if (out == 0).all() else "NaN" if np.isnan(out).any() else "not 0"


def transposed(transpose_kernel: bool):
    """σ of the (outputs, rest) matrix of a transposed convolution's used kernel."""
    def measure(peer) -> str:
        layer = peer.conv_transpose(24, 6, transpose_kernel)
        if layer is None:
            return "no such option"
        pixels = np.eye(24, dtype=np.float32)[:, None, None]
        used = np.asarray(_trained(layer, pixels).evaluate(pixels))  # (24, 2, 2, 6)
        return f"{sigma(used.reshape(-1, used.shape[-1])):.4f}"
    return measure


ROWS = {
    "σ(W̄) at the first evaluation, σ(W) = 3": after_init,
    f"σ(W̄) after {STEPS} training passes": after_training,
    "σ of the stored weight at init, after one evaluation": stored_weight,
    "two evaluations give equal bits": repeatable,
    "extra products of an evaluation": products,
    "σ(W̄) where σ(W) = 1e-2": small_weight(1e-2),
    "σ(W̄) where σ(W) = 1e-3": small_weight(1e-3),
    "σ(W̄) where σ(W) = 1e-8": small_weight(1e-8),
    "σ(W̄) where σ(W) = 1e-20": small_weight(1e-20),
    "output where W = 0": zero_weight,
    "transposed convolution, σ of (outputs, rest)": transposed(False),
    "the same with transpose_kernel=True": transposed(True),
}


def _trained(layer, x):
    for _ in range(STEPS):
        layer.train(x)
    return layer


def main(argv=None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m docs.compare_sn", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    present = {name: peer for name, peer in PEERS.items()
               if importlib.util.find_spec(peer.package)}
    print("| measured | " + " | ".join(present) + " |")
    print("|---" * (1 + len(present)) + "|")
    loaded = {name: peer.load() for name, peer in present.items()}
    for words, measure in ROWS.items():
        print(f"| {words} | " + " | ".join(measure(peer) for peer in loaded.values()) + " |",
              flush=True)
    absent = sorted(set(PEERS) - set(present))
    print(f"\nnot installed: {', '.join(absent) or 'none'}; {date.today().isoformat()}, Python "
          f"{platform.python_version()}, {platform.machine()}, "
          + ", ".join(f"{name} {version(name)}" for name in
                      sorted({peer.distribution for peer in present.values()} | {"jax"})))


if __name__ == "__main__":
    jax.config.update("jax_default_matmul_precision", "highest")
    main()
