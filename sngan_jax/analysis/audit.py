"""The Lipschitz audit of a discriminator: a record of its layers, its bounds and measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import flax.linen as nn
import jax
import numpy as np

from sngan_jax.analysis.lipschitz import (
    NoBoundError,
    Points,
    ascend,
    between,
    measure,
    pair_ratio,
    reshaped_bound,
    upper_bound,
)
from sngan_jax.analysis.spectra import (
    layer_operator_norm,
    layer_singular_values,
    linear_layers,
    stable_rank,
)
from sngan_jax.base.errors import UserError
from sngan_jax.base.types import JsonObject
from sngan_jax.step.forward import Variables

UNITS = ("logits per unit of Euclidean distance of the input, whose pixels are in [-1, 1]; "
         "of D at evaluation, in float32")
Labelled = tuple[np.ndarray, np.ndarray | None]  # images, labels
# The number of points with the largest gradients, from which the ascent starts.
STARTS = 64


def audit(discriminator: nn.Module, variables: Variables, real: Labelled,
          samples: Labelled, *, ascent_steps: int = 100, seed: int = 0
          ) -> JsonObject:
    """The measures of docs/audit.md, as plain values for JSON.

    Args:
      discriminator: a network that computes in float32.
      variables: its collections.
      real, samples: (images float32 (n, h, w, c) in [-1, 1], labels int32 (n,) or None for an
        unconditional D); any n of 1 or more each.
      ascent_steps: number of steps of gradient ascent on the gradient's norm, 0 or more.
      seed: seed of the points between images.

    Raises:
      UserError: for images or labels of another kind, for layers that cannot be inspected, and for
        weights, logits or gradients that are not finite.
    """
    num_classes = getattr(discriminator, "num_classes", None)
    if num_classes is not None and (num_classes > 0) != (real[1] is not None):
        raise UserError(f"the discriminator has num_classes={num_classes}: give labels to a "
                        "conditional one, and None to another")
    check_images(real, samples, num_classes or 0)
    x, y = real
    inputs = [jax.ShapeDtypeStruct((1, *x.shape[1:]), np.float32)]
    if y is not None:
        inputs.append(jax.ShapeDtypeStruct((1,), np.int32))
    layers = linear_layers(discriminator, variables, *inputs)
    records = []
    for name, layer in layers.items():
        values = layer_singular_values(layer)
        records.append({
            "name": name, "kind": layer.kind, "shape": list(layer.weight.shape),
            "sigma": float(values[0]), "operator_norm": layer_operator_norm(layer),
            "stable_rank": stable_rank(values), "singular_values": values.tolist()})
    bounds: JsonObject = {"upper_bound": None, "upper_bound_reshaped": None, "why": None}
    try:
        bounds["upper_bound"] = upper_bound(discriminator, variables, layers)
        bounds["upper_bound_reshaped"] = reshaped_bound(discriminator, variables, layers)
    except NoBoundError as error:
        bounds["why"] = str(error)
    return {"layers": records, **bounds,
            **_measured(discriminator, variables, real, samples, ascent_steps, seed)}


def check_images(real: Labelled, samples: Labelled, num_classes: int = 0) -> None:
    """UserError for images or labels that `audit` cannot take; num_classes: 0 if it is unknown."""
    for what, (x, y) in (("real images", real), ("samples", samples)):
        if x.ndim != 4 or not len(x) or not np.issubdtype(x.dtype, np.floating):
            raise UserError(f"the {what} are {x.dtype} of shape {x.shape}: give float32 of shape "
                            "(n, h, w, c), of one image or more")
        if not (np.abs(x) <= 1 + 1e-3).all():  # not true of NaN either
            raise UserError(f"the {what} have pixels outside [-1, 1], or that are not finite: "
                            "scale uint8 images by x/127.5 - 1")
        if x.shape[1:] != real[0].shape[1:] or (y is None) != (real[1] is None):
            raise UserError(f"the samples have the shape {x.shape[1:]} and "
                            f"{'no labels' if y is None else 'labels'}: give samples like the "
                            f"real images, which have {real[0].shape[1:]} and "
                            f"{'no labels' if real[1] is None else 'labels'}")
        if y is not None and not (y.shape == x.shape[:1] and np.issubdtype(y.dtype, np.integer)
                                  and y.min() >= 0 and y.max() < (num_classes or np.inf)):
            numbers = y.size and np.issubdtype(y.dtype, np.number)
            raise UserError(f"the labels of the {what} are {y.dtype} of shape {y.shape}"
                            + (f", from {y.min()} to {y.max()}" if numbers else "") + ": give a "
                            "whole number for each image, from 0 to the number of classes - 1")


def _measured(discriminator: nn.Module, variables: Variables, real: Labelled, samples: Labelled,
              ascent_steps: int, seed: int) -> JsonObject:
    def at(x: np.ndarray, labels: np.ndarray | None) -> Points:
        return measure(discriminator, variables, x, labels)

    points = {"real": at(*real), "samples": at(*samples)}
    points["between"] = at(between(points["real"], points["samples"], seed), real[1])
    everywhere = _joined(points.values())
    # A step in proportion to the images' size: 0.02 in each pixel value.
    rate = 0.02 * float(np.sqrt(real[0][0].size))
    best = np.argsort(-everywhere.lengths)[:STARTS]
    start = _map(lambda a: a[best], everywhere)
    climbed, ratio = ascend(discriminator, variables, start, ascent_steps, rate)
    ratio = max(ratio, pair_ratio(everywhere))
    norms = {name: float(part.lengths.max()) for name, part in points.items()}
    norms["ascent"] = climbed
    found = [*norms.values(), ratio]
    # Not only the largest values: a maximum, and a ReLU's gradient, can hide a NaN.
    if not all(np.isfinite(x).all() for x in (found, everywhere.logits, everywhere.gradients)):
        raise UserError("the discriminator's logits or gradients are not finite (NaN or infinity) "
                        "at some images: it has diverged; use an earlier checkpoint")
    return {"gradient_norm": norms, "pair_ratio": ratio, "lower_bound": max(found),
            "protocol": {"real": len(real[0]), "samples": len(samples[0]),
                         "between": len(real[0]), "ascent_steps": ascent_steps,
                         "ascent_starts": len(best), "ascent_rate": rate, "seed": seed,
                         "units": UNITS}}


def _joined(parts: Iterable[Points]) -> Points:
    return _map(lambda *arrays: np.concatenate(arrays), *parts)


def _map(function: Callable[..., np.ndarray], *points: Points) -> Points:
    """Applies a function to the same array of each; labels that are None stay None."""
    return jax.tree.map(function, *points)
