"""Makes an extractor from its name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.streaming import ImageStream
from sngan_jax.metrics.classifier import cached_classifier, classifier_extractor
from sngan_jax.metrics.extractor import Extractor, inception_extractor
from sngan_jax.metrics.inception_weights import load_weights

_MOST_BYTES = 2**30  # the most that a classifier is trained on from a streamed set


def make_extractor(kind: str, images: ImageSet | ImageStream | None = None, *,
                   resize: str = "tf1", batch_size: int | None = None) -> Extractor:
    """Inception with the weights in the cache, or the classifier of a set's labels.

    Args:
      kind: 'inception' or 'classifier'.
      images: the images on which the classifier is trained, unless the cache has it; from a
        streamed set, a random selection that fits into a GiB.
      resize: method that enlarges images to Inception's input, one of `resize.RESIZES`.
      batch_size: images at a time on each device; None for a good default.

    Raises:
      UserError: if there are no weights, no set, or no labels.
    """
    options = {"batch_size": batch_size} if batch_size else {}
    if kind == "inception":
        return inception_extractor(load_weights(), resize, **options)
    if images is None:
        raise UserError(f"the extractor {kind} needs a labelled set of images to train on: "
                        "give one, or use the extractor inception")
    if isinstance(images, ImageStream):
        images = _in_memory(images)
    return classifier_extractor(cached_classifier(images, cache_folder()), **options)


def _in_memory(stream: ImageStream) -> ImageSet:
    most = max(_MOST_BYTES // int(np.prod(stream.shape)), 1)
    rows = np.sort(np.random.default_rng(0).permutation(len(stream))[:most])
    with ThreadPoolExecutor() as decoders:
        images, labels = stream.read(rows, decoders.map)
    return ImageSet(images, labels, stream.num_classes, stream.name)
