"""A small classifier of a data set's own classes, as an extractor where Inception is useless.

Its scores have their own names: Fréchet classifier distance (fcd), classifier score (cs), kernel
classifier distance (kcd). They are comparable only between runs on one data set, with one
classifier (its checksum is in each record), and never with an FID or an IS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from tqdm import tqdm

from sngan_jax.base.compilation import jit
from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say
from sngan_jax.base.types import PyTree
from sngan_jax.data.image_set import ImageSet
from sngan_jax.data.pipeline import scale
from sngan_jax.metrics.arrays import checksum, read_npz, write_npz
from sngan_jax.metrics.extractor import Extractor

State = tuple[PyTree, optax.OptState]  # parameters, and the optimizer's state
FEATURES = 128
STEPS, BATCH, RATE, HELD_OUT = 1500, 128, 2e-3, 0.1
_RECIPE = f"cnn-1:{STEPS}:{BATCH}:{RATE}:{HELD_OUT}"  # part of the cache key


class Classifier(nn.Module):
    """uint8 (n, h, w, c) -> features (n, 128) after the last ReLU, logits (n, num_classes)."""

    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = scale(images)
        width = 32
        x = nn.relu(nn.Conv(width, (3, 3), strides=1 if min(x.shape[1:3]) <= 16 else 2)(x))
        while min(x.shape[1:3]) > 4:
            width = min(2 * width, 128)
            x = nn.relu(nn.Conv(width, (3, 3), strides=2)(x))
        x = nn.relu(nn.Dense(FEATURES)(x.reshape(len(x), -1)))
        return x, nn.Dense(self.num_classes)(x)


class Trained(NamedTuple):
    """A trained classifier.

    params: parameters of Classifier(num_classes); checksum: their checksum.
    shape: shape of a training image.
    accuracy: share of the held-out tenth that it classifies correctly.
    """

    params: PyTree
    num_classes: int
    shape: tuple[int, int, int]
    accuracy: float
    checksum: str


def classifier_extractor(trained: Trained, batch_size: int = 256) -> Extractor:
    """The extractor for fcd, cs, kcd, prdc, intra_fcd and classes.

    Raises:
      UserError: images have another shape than those on which it was trained.
    """
    network = Classifier(trained.num_classes)

    apply: Callable[..., PyTree] = network.apply

    def function(params: PyTree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        if images.shape[1:] != trained.shape:
            raise UserError(f"the classifier was trained on images of {_words(trained.shape)}, but "
                            f"these are {_words(images.shape[1:])}: resize them to match, or "
                            "train a classifier on images like them")
        return apply({"params": params}, images)

    if trained.accuracy < 1.5 / trained.num_classes and jax.process_index() == 0:
        say(f"warning: the classifier is right on only {trained.accuracy:.0%} of held-out images "
            f"of {trained.num_classes} classes: its scores mean little")
    return Extractor(f"classifier ({trained.accuracy:.1%} of held-out images right)",
                     trained.checksum, "", FEATURES, trained.num_classes, trained.params, function,
                     batch_size, family="classifier")


def cached_classifier(images: ImageSet, folder: Path) -> Trained:
    """The classifier of a labelled set, read from a cache, or else trained and written there.

    Args:
      images: its training data; the name of the file is a function of their content.
      folder: the folder of the cache.

    Raises:
      UserError: for no labels, fewer than two classes or ten images, or a damaged file.
    """
    if images.labels is None or images.num_classes < 2:
        raise UserError(f"a classifier needs the labels of at least two classes, but {images.name} "
                        "has none: use a labelled set, or the extractor inception")
    if len(images) < 10:
        raise UserError(f"a classifier needs at least 10 images, but {images.name} has "
                        f"{len(images)}: use a larger set")
    key = hashlib.sha256(f"{_RECIPE}:{images.fingerprint()}".encode()).hexdigest()[:20]
    file = folder / f"classifier-{key}.npz"
    if file.is_file():
        return load_classifier(file)
    trained = train_classifier(images)
    about = {"num_classes": trained.num_classes, "shape": trained.shape,
             "accuracy": trained.accuracy, "data": images.name}
    flat = flatten_dict(trained.params, sep="/")
    try:
        write_npz(file, {**flat, "about": json.dumps(about)})
    except OSError as error:
        if jax.process_index() == 0:
            say(f"warning: the classifier cannot be kept in {file} ({error.strerror}), and will be "
                "trained again: set SNGAN_JAX_CACHE to a folder of your own")
    return trained


def load_classifier(file: Path) -> Trained:
    """Reads a file written by `cached_classifier`; UserError if it is damaged."""
    try:
        arrays = read_npz(file)
        about = json.loads(str(arrays.pop("about")))
        shape, num_classes = tuple(about["shape"]), about["num_classes"]
        params = unflatten_dict(arrays, sep="/")
        expected = jax.eval_shape(Classifier(num_classes).init, jax.random.key(0),
                                  jnp.zeros((1, *shape), jnp.uint8))["params"]
        if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, expected):
            raise ValueError("its arrays are of another network")
        return Trained(params, num_classes, shape, about["accuracy"], checksum(arrays))
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the classifier {file} cannot be read ({error}): it is damaged; remove "
                        "it to train it again") from error


def train_classifier(images: ImageSet) -> Trained:
    """Trains with Adam for a fixed number of steps, and measures accuracy on a held-out tenth."""
    labels = images.labels
    assert labels is not None  # checked by `cached_classifier`
    network = Classifier(images.num_classes)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    held = order[:max(1, int(HELD_OUT * len(images)))]
    rows = order[len(held):]
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    params = network.init(jax.random.key(0), images.images[:1])["params"]
    state = params, optimizer.init(params)
    step = partial(_step, network, optimizer)
    with tqdm(range(STEPS), desc=f"classifier of {images.name}", unit="step", dynamic_ncols=True,
              mininterval=1, disable=None) as bar:  # no bar without a terminal
        for _ in bar:
            batch = rng.choice(rows, BATCH)
            state = step(state, images.images[batch], labels[batch])
    params = jax.tree.map(np.asarray, state[0])
    apply: Callable[..., PyTree] = network.apply
    predict = jit(lambda x: apply({"params": params}, x)[1].argmax(1))
    right = [np.asarray(predict(images.images[part])) == labels[part]
             for part in np.array_split(held, -(-len(held) // 500))]
    return Trained(params, images.num_classes, images.images.shape[1:],
                   float(np.concatenate(right).mean()), checksum(flatten_dict(params, sep="/")))


@partial(jit, static_argnums=(0, 1))
def _step(network: nn.Module, optimizer: optax.GradientTransformation, state: State, x: jax.Array,
          y: jax.Array) -> State:
    params, opt_state = state

    def loss(params: PyTree) -> jax.Array:
        logits = network.apply({"params": params}, x)[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, updates), opt_state


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} with {shape[2]} channel{'s' if shape[2] > 1 else ''}"
