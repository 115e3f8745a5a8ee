"""Upper bounds on a discriminator's Lipschitz constant, and measurements from below.

Everything concerns D's logit as a function of its image, D(·, y) for every class y, in Euclidean
norms: logits per unit of the input, whose pixels are in [-1, 1]. D is taken at evaluation.

The upper bound multiplies the norms of consecutive layers, and adds the norms of the two branches
of a residual block. Each factor is exact. The bound is not tight, because no input is stretched
most by all layers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sngan_jax.activation_norms import BatchNorm, LayerNorm
from sngan_jax.analysis.spectra import LinearLayer, layer_operator_norm, layer_singular_values
from sngan_jax.base.compilation import jit
from sngan_jax.base.types import PyTree
from sngan_jax.models.blocks import CONCAT_AFTER, CONCAT_FEATURES
from sngan_jax.models.cnn import CNNDiscriminator
from sngan_jax.models.resnet import ResNetDiscriminator
from sngan_jax.step.forward import Variables

# The mean over disjoint 2x2 squares: four equal pixels a become one a, so norm 2a becomes a.
_MEAN = 0.5
# Pairs nearer than this tell nothing: float32 cannot distinguish their logits.
_NEAR = 1e-3


class NoBoundError(ValueError):
    """There is no bound; the message says why, as a clause without capital letter and full stop."""


def upper_bound(discriminator: nn.Module, variables: Variables, layers: dict[str, LinearLayer]
                ) -> float:
    """A bound on the Lipschitz constant of x -> D(x, y), for any y, from operator norms.

    Args:
      discriminator: a `CNNDiscriminator` or a `ResNetDiscriminator`.
      variables: its collections; batch norm scales by the running statistics.
      layers: `spectra.linear_layers` of it.

    Raises:
      NoBoundError: for other networks, for layer norm, and for several layers in place of one
        convolution.
    """
    return _product(discriminator, variables, layers, layer_operator_norm)


def reshaped_bound(discriminator: nn.Module, variables: Variables, layers: dict[str, LinearLayer]
                   ) -> float:
    """`upper_bound` with the σ of the reshaped matrix in place of a convolution's norm.

    This is the paper's argument (§2.1, eq. 7) with its σ. It is not a bound: a convolution's norm
    can be larger by a factor of up to the side of its window over its stride (paper, footnote 3).

    Raises:
      NoBoundError: as for `upper_bound`.
    """
    def sigma(layer: LinearLayer, pooled: bool = False) -> float:
        return float(layer_singular_values(layer)[0]) * (_MEAN if pooled else 1)

    return _product(discriminator, variables, layers, sigma)


class _Parts(NamedTuple):
    """Norms of layers and activation norms, found by their paths in the network."""

    layers: dict[str, LinearLayer]
    norm_of: Callable[..., float]
    scale: Callable[[str], float]

    def norm(self, name: str, pooled: bool = False) -> float:
        return self.norm_of(self.layers[name], pooled=pooled)


def _product(d: nn.Module, variables: Variables, layers: dict[str, LinearLayer],
             norm_of: Callable[..., float]) -> float:
    rules: dict[type, tuple[Callable, Callable]] = {
        CNNDiscriminator: (_cnn, _cnn_layers),
        ResNetDiscriminator: (_resnet, _resnet_layers)}
    if type(d) not in rules:
        known = ", ".join(rule.__name__ for rule in rules)
        raise NoBoundError(f"{type(d).__name__} is not one of {known}, so it is not known how its "
                           "layers are joined")
    rule, names = rules[type(d)]
    if strange := sorted(names(d) ^ set(layers)):
        raise NoBoundError(f"{type(d).__name__} has another structure at '{strange[0]}' than its "
                           "own layers: one was replaced by a module that is not a single layer")
    return rule(d, _Parts(layers, norm_of, lambda path: _scale(d, variables, path)))


def _cnn_layers(d: CNNDiscriminator) -> set[str]:
    without_classes = d.conditioning == "concat" and len(d.widths) <= 2 * CONCAT_AFTER
    head = {"head/dense"} if without_classes else _head_layers(d)
    return {f"conv{i}" for i in range(len(d.widths))} | head


def _cnn(d: CNNDiscriminator, parts: _Parts) -> float:
    bound = _head(d, parts)
    for i in range(len(d.widths)):
        bound *= parts.norm(f"conv{i}") * max(1.0, abs(d.slope))
        if i > 0:
            bound *= parts.scale(f"norm{i}")
    return bound


def _resnet_layers(d: ResNetDiscriminator) -> set[str]:
    names = _head_layers(d)
    for i in range(len(d.widths)):
        names |= {f"block{i + 1}/conv1", f"block{i + 1}/conv2"}
        if _halves(d, i) or _channels(d, i) != d.widths[i]:
            names.add(f"block{i + 1}/shortcut")
    return names


def _halves(d: ResNetDiscriminator, i: int) -> bool:
    return i == 0 or i < d.downsampling


def _channels(d: ResNetDiscriminator, i: int) -> int:
    """Number of input channels of block i > 0, counted from 0."""
    concatenated = (d.num_classes and d.conditioning == "concat"
                    and i == min(CONCAT_AFTER, len(d.widths)))
    return d.widths[i - 1] + (CONCAT_FEATURES if concatenated else 0)


def _resnet(d: ResNetDiscriminator, parts: _Parts) -> float:
    geometry = parts.layers["block1/conv1"].geometry
    assert geometry is not None  # a convolution has one
    height, width, _ = geometry[1]
    positions = height * width // 4 ** max(d.downsampling, 1)
    # From (positions, c) to (c,), with equal weights for all positions.
    bound = _head(d, parts) * {"sum": positions**0.5, "mean": positions**-0.5}[d.pool]
    for i in range(len(d.widths)):
        block, pooled = f"block{i + 1}", _halves(d, i)
        branch = parts.norm(f"{block}/conv1") * parts.norm(f"{block}/conv2", pooled)
        # The first block has no norm before its first convolution.
        for name in ("norm1",) if i == 0 else ("norm1", "norm2"):
            branch *= parts.scale(f"{block}/{name}")
        around = 1.0
        if (shortcut := f"{block}/shortcut") in parts.layers:
            # A 1x1 convolution and the mean act on different axes: their norms multiply.
            around = parts.norm(shortcut) * (_MEAN if pooled else 1)
        bound *= branch + around
    return bound


def _head_layers(d: nn.Module) -> set[str]:
    of_classes = {"projection": "head/embed", "auxiliary": "head/classes", "concat": "embed"}
    return {"head/dense"} | ({of_classes[d.conditioning]} if d.num_classes else set())


def _head(d: nn.Module, parts: _Parts) -> float:
    """max over y of ‖w + row y‖: the logit is <w, h> + b + <row y, h>.

    A class row beside the features ('concat') is constant in x; the logit does not depend on the
    outputs of an auxiliary classifier.
    """
    w = parts.layers["head/dense"].weight[:, 0]
    if d.num_classes and d.conditioning == "projection":
        w = w + parts.layers["head/embed"].weight
    return float(np.max(np.linalg.norm(np.atleast_2d(w), axis=1)))


def _scale(d: nn.Module, variables: Variables, path: str) -> float:
    """The Lipschitz constant of the activation norm at a path, such as 'block2/norm1'."""
    if d.norm is None:
        return 1.0
    norm = d.norm()
    if isinstance(norm, LayerNorm):
        raise NoBoundError(
            "layer norm divides an image's activations by their own deviation, which can be "
            "arbitrarily small: only its ε bounds the factor, by 1/√ε = "
            f"{norm.epsilon ** -0.5:,.0f} per layer, and a product of such factors is useless")
    if not isinstance(norm, BatchNorm):
        raise NoBoundError(f"there is no rule here for the activation norm {type(norm).__name__}")
    stats, own = variables["batch_stats"], variables["params"]
    for part in path.split("/"):
        stats, own = stats[part], own.get(part, {})
    gamma = np.asarray(own.get("scale", 1.0), np.float64)
    return float(np.max(np.abs(gamma) / np.sqrt(np.asarray(stats["var"], np.float64)
                                               + norm.epsilon)))


class Points(NamedTuple):
    """Points at which D is measured: images, labels (None: unconditional), logits and gradients.

    x, gradients: float32 (n, h, w, c); labels: int32 (n,); logits: float32 (n,).
    """

    x: np.ndarray
    labels: np.ndarray | None
    logits: np.ndarray
    gradients: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """‖∇_x D(x, y)‖₂ of each point: float64 (n,)."""
        return np.linalg.norm(self.gradients.reshape(len(self.x), -1).astype(np.float64), axis=1)


def measure(discriminator: nn.Module, variables: Variables, x: np.ndarray,
            labels: np.ndarray | None, *, batch_size: int = 64) -> Points:
    """D and its gradient at images x (n, h, w, c); arguments as the fields of `Points`."""
    n = len(x)
    batch_size = min(batch_size, n)
    logits, gradients = [], []
    for start in range(0, n, batch_size):
        rows = np.arange(start, start + batch_size) % n
        part = _value_and_gradient(discriminator, variables, jnp.asarray(x[rows]),
                                   None if labels is None else jnp.asarray(labels[rows]))
        logits.append(np.asarray(part[0]))
        gradients.append(np.asarray(part[1]))
    return Points(np.asarray(x), labels, np.concatenate(logits)[:n], np.concatenate(gradients)[:n])


def _logits(discriminator: nn.Module, variables: Variables, x: jax.Array, y: jax.Array | None
            ) -> jax.Array:
    output: PyTree = discriminator.apply(variables, x, *(() if y is None else (y,)))
    return output[0] if isinstance(output, tuple) else output


def _gradient(discriminator: nn.Module, variables: Variables, x: jax.Array, y: jax.Array | None
              ) -> tuple[jax.Array, jax.Array]:
    with jax.default_matmul_precision("highest"):
        logits, pull = jax.vjp(lambda x: _logits(discriminator, variables, x, y), x)
        return logits, pull(jnp.ones_like(logits))[0]


_value_and_gradient = jit(_gradient, static_argnums=(0,))


def between(a: Points, b: Points, seed: int) -> np.ndarray:
    """One image on the line from each of `a` to one of `b`, at a random place: float32 (n, …)."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(size=(len(a.x), 1, 1, 1)).astype(np.float32)
    other = b.x[rng.integers(len(b.x), size=len(a.x))]
    return a.x + t * (other - a.x)


def ascend(discriminator: nn.Module, variables: Variables, start: Points, steps: int, rate: float
           ) -> tuple[float, float]:
    """Gradient ascent on ‖∇D‖ over x: the largest gradient norm, and the largest ratio of a pair.

    The gradient of ‖∇D‖ is H u, with the Hessian H and u = ∇D/‖∇D‖. D is piecewise linear (ReLU)
    and its H zero almost everywhere, so the difference of two gradients, at x ± rate·u, replaces H
    u. These two points are also the pair. All points stay inside [-1, 1].

    Args:
      start: points to start from.
      steps: number of steps; with 0 the results are the largest norm at the start, and 0.
      rate: length of a step.
    """
    def unit(x: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(x.reshape(len(x), -1), axis=1)
        return x / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None, None, None]

    largest, ratio, now = start.lengths.max(initial=0), 0.0, start
    for _ in range(steps):
        u = rate * unit(now.gradients)
        above, below = (measure(discriminator, variables, np.clip(now.x + step, -1, 1),
                                start.labels) for step in (u, -u))
        distance = np.linalg.norm((above.x - below.x).reshape(len(u), -1).astype(np.float64),
                                  axis=1)
        far = distance > _NEAR
        rise = np.abs(above.logits.astype(np.float64) - below.logits)
        ratio = max(ratio, (rise[far] / distance[far]).max(initial=0))
        x = np.clip(now.x + rate * unit(above.gradients - below.gradients), -1, 1)
        now = measure(discriminator, variables, x, start.labels)
        largest = max(largest, above.lengths.max(), below.lengths.max(), now.lengths.max())
    return float(largest), float(ratio)


def pair_ratio(points: Points) -> float:
    """The largest |D(x, y) - D(x', y)| / ‖x - x'‖₂ over pairs, within a class if conditional."""
    x = points.x.reshape(len(points.x), -1).astype(np.float64)
    logits, largest = points.logits.astype(np.float64), 0.0
    for i in range(len(x) - 1):
        distance = np.linalg.norm(x[i + 1:] - x[i], axis=1)
        counts = distance > _NEAR
        if points.labels is not None:
            counts &= points.labels[i + 1:] == points.labels[i]
        ratio = np.abs(logits[i + 1:] - logits[i])[counts] / distance[counts]
        largest = max(largest, ratio.max(initial=0))
    return float(largest)
