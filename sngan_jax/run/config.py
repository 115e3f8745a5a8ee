"""The fields of a training config: default (the paper's), accepted values, meaning.

A field is entered here and nowhere else. The configs in `experiments/configs` start from these
defaults (§4, Appendix B), `validate` checks against these rules, an older run's config is completed
from them, and docs/configs.md is generated from them. docs/paper.md lists what the paper leaves
open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sngan_jax.base.types import JsonObject
from sngan_jax.data.crop import ALPHAS, FITS
from sngan_jax.losses import LOSSES
from sngan_jax.methods import ACTIVATION_NORMS, METHODS
from sngan_jax.metrics.scores import METRICS
from sngan_jax.models.blocks import CONDITIONINGS
from sngan_jax.models.build import (
    BN_SYNCS,
    CONVOLUTIONS,
    FUSION_CHOICES,
    GENERATOR_LAYERS,
    HEAD_BIASES,
    MODELS,
)
from sngan_jax.models.resample import UPSAMPLING
from sngan_jax.models.resnet import POOLS
from sngan_jax.regularizers import REGULARIZERS
from sngan_jax.step.augment import AUGMENTATIONS, FEW_IMAGES, augmentations
from sngan_jax.step.latents import LATENTS
from sngan_jax.step.recipe import SIGMA_UPDATES
from sngan_jax.step.sampling import BN_MODES


class Rule(NamedTuple):
    """A test for values of the right type, and its description (or a function that returns it)."""

    accepts: Callable[[Any], bool]
    words: str | Callable[[], str]


class Field(NamedTuple):
    """A field of a config.

    default: default value, whose type is the field's type.
    comment: the meaning, for docs/configs.md.
    later: whether some runs are older than the field; the default is what they did.
    """

    default: bool | int | float | str
    rule: Rule
    comment: str
    later: bool = False


def _one_of(names: Iterable[str], or_empty: str = "") -> Rule:
    # Looked up late, because your own method may be added to the table.
    return Rule(lambda v: v in names or (bool(or_empty) and not v),
                lambda: or_empty + "one of " + ", ".join(names))


def _own_or(names: Iterable[str]) -> Rule:
    return _one_of(names, "empty (the method's own) or ")


def _is_augment(text: str) -> bool:
    try:
        augmentations(text)
    except ValueError:
        return False
    return True


_TEXT = Rule(lambda v: True, "text")
_SWITCH = Rule(lambda v: True, "true or false")
# Counts are int32 on the device; a size beyond the other bound can only be a slip.
_COUNT = Rule(lambda v: 1 <= v < 2**31, "a whole number of at least 1, below 2**31")
_COUNT_OR_NONE = Rule(lambda v: 0 <= v < 2**31, "a whole number of at least 0, below 2**31")
_SIZE = Rule(lambda v: 1 <= v <= 2**16, "a whole number from 1 to 65536")
_SIZE_OR_NONE = Rule(lambda v: 0 <= v <= 2**16, "a whole number from 0 to 65536")
# Within the normal numbers of float32.
_COEFFICIENT = Rule(lambda v: 0 <= v <= 1e38, "a number of at least 0, at most 1e38")
_POSITIVE = Rule(lambda v: 1e-37 <= v <= 1e38, "a number above 0 (1e-37 to 1e38)")
_DECAY = Rule(lambda v: 0 <= v < 1, "a number from 0 (included) to 1 (excluded)")

SECTIONS: dict[str, dict[str, Field]] = {
    "General": {
        "seed": Field(
            0, Rule(lambda v: 0 <= v < 2**31, "a whole number from 0 to 2147483647"),
            "fixes weights, latents and the order of the data")},
    "Data": {
        "dataset": Field(
            "tfds:cifar10",
            Rule(bool, "digits, tfds:<name>, npz:<file>, idx:<folder> or folder:<folder>"),
            "where the images come from"),
        "split": Field(
            "train", Rule(bool, "the name of a split, such as train"),
            "split of the data set, or a part of it: train[:90%]"),
        "data_dir": Field("", _TEXT, "folder of prepared TFDS data sets; empty: TFDS's default"),
        "stream": Field(
            False, _SWITCH, "read from disk while training, for sets larger than memory"),
        "on_bad_image": Field(
            "stop", _one_of(("stop", "skip")),
            "on a damaged image: save and stop, or use the next image instead", later=True),
        "image_size": Field(32, _SIZE, "height and width of the images, in pixels"),
        "image_width": Field(0, _SIZE_OR_NONE, "width, if different; 0: image_size",
                             later=True),
        "fit": Field(
            "crop", _one_of(FITS), "how a picture is fitted to the images' aspect ratio: cropped "
            "to its centre, padded with bars, or stretched", later=True),
        "alpha": Field(
            "white", _one_of(ALPHAS), "background behind transparent pixels; drop: use the stored "
            "colours and ignore transparency, with black bars", later=True),
        "channels": Field(
            0, Rule(lambda v: v in (0, 1, 3), "0 (as in the data), 1 (grey) or 3 (RGB)"),
            "colour channels of the images"),
        "dequantize": Field(
            True, _SWITCH, "x/128 - 1 + U(0, 1/128); else the mean, (x + 1/2)/128 - 1"),
        "flip": Field(False, _SWITCH, "mirror real images at random"),
        "augment": Field(
            "", Rule(_is_augment, lambda: "auto, empty (none), or a comma-separated list from "
             + ", ".join(AUGMENTATIONS)),
            "random changes to the images that D sees, real and generated; auto: all of them "
            f"for sets of at most {FEW_IMAGES:,} images", later=True)},
    "Networks": {
        "model": Field(
            "cnn", _one_of(MODELS), "the pair of networks; sndcgan is the authors' published code"),
        "conditional": Field(
            False, _SWITCH, "use the labels: conditional batch norm in G, `conditioning` in D"),
        "conditioning": Field("projection", _one_of(CONDITIONINGS), "how D uses the labels"),
        "generator_width": Field(0, _SIZE_OR_NONE, "base width in channels; 0: the paper's"),
        "discriminator_width": Field(0, _SIZE_OR_NONE, "base width in channels; 0: the paper's"),
        "generator_layers": Field(
            "", Rule(lambda v: v in GENERATOR_LAYERS, "empty (Linen's own) or sn"),
            "sn: G's weights are also divided by their σ, as in SAGAN and later, except the class "
            "tables of its batch norms", later=True),
        "last_layer_multiplier": Field(
            1.0, _POSITIVE, "scales the width into and out of D's last layer (Figure 4)"),
        "head_bias": Field(
            "paper", _one_of(HEAD_BIASES),
            "bias of D's last dense layer; paper: as published for the model"),
        "pool": Field("sum", _one_of(POOLS), "pooling over positions, in D of a resnet"),
        "shortcut_relu": Field(
            False, _SWITCH, "a ReLU before the shortcuts of D of a resnet, except the first: as in "
            "mimicry, not as in the paper", later=True),
        "upsampling": Field(
            "nearest", _one_of(UPSAMPLING), "how G of a resnet enlarges its images"),
        "fusion": Field(
            "auto", _one_of(FUSION_CHOICES),
            "fuses resizing with convolution, for speed; the same function", later=True),
        "convolutions": Field(
            "auto", _one_of(CONVOLUTIONS), "cpu: fast on a CPU, no forward-mode autodiff; lax: "
            "JAX's own; auto: chosen by device; all compute the same function", later=True),
        "latent_size": Field(128, _SIZE, "length of z"),
        "latent": Field("normal", _one_of(LATENTS), "distribution of z; uniform: in [-1, 1]"),
        "bn_decay": Field(0.9, _DECAY, "decay of batch norm's running statistics"),
        "bn_epsilon": Field(2e-5, _POSITIVE, "ε of batch norm, added to the variance"),
        "bn_evaluation": Field(
            "running", _one_of(BN_MODES), "batch norm's statistics when samples are drawn from G"),
        "dtype": Field(
            "float32", _one_of(("float32", "bfloat16")),
            "precision of the computation; parameters and σ are always float32"),
        "bn_sync": Field(
            "all", _one_of(BN_SYNCS),
            "batch norm's statistics: over all devices' images, or per device", later=True)},
    "What constrains D": {
        "method": Field(
            "sn", _one_of(METHODS), "what constrains D: a row of Table 2 or 7 (docs/paper.md)"),
        "loss": Field("", _own_or(LOSSES), "loss of both players"),
        "discriminator_norm": Field(
            "", _own_or(ACTIVATION_NORMS), "normalization of D's activations"),
        "regularizer": Field("", _own_or(REGULARIZERS), "penalty added to D's loss"),
        "lipschitz": Field(1.0, _POSITIVE, "K, for each layer of D: its weight becomes K·W/σ(W)"),
        "power_steps": Field(1, _COUNT, "power steps in a forward pass of D (Algorithm 1)"),
        "power_warmup": Field(
            0, _COUNT_OR_NONE,
            "power steps at initialization; 0: one; at least 100 with a learnt scale"),
        "sigma_updates": Field(
            "call", _one_of(SIGMA_UPDATES),
            "when D takes power steps: in every call, or once an update or iteration"),
        "gp_coefficient": Field(10.0, _COEFFICIENT, "λ of the gradient penalty"),
        "orthonormal_coefficient": Field(
            1e-2, _COEFFICIENT, "coefficient of the orthonormal penalty; not published"),
        "clip": Field(0.01, _POSITIVE, "bound of weight clipping"),
        "auxiliary_discriminator": Field(
            1.0, _COEFFICIENT, "weight of the auxiliary classifier in D's loss (Gulrajani et al.)"),
        "auxiliary_generator": Field(
            0.1, _COEFFICIENT, "weight of the auxiliary classifier in G's loss")},
    # One iteration is one update of G and n_dis of D; batch sizes are global. Adam's constants and
    # n_dis are those of setting C of Table 1.
    "Training": {
        "iterations": Field(100_000, _COUNT, "length of the run"),
        "init_from": Field(
            "", _TEXT, "start from G's and D's weights of another run, <workdir>[@iteration]",
            later=True),
        "iterations_per_call": Field(
            1, _COUNT, "iterations on the device between two returns to Python", later=True),
        "batch_size": Field(
            64, _COUNT, "D's real images, and as many fakes (not stated for the CNN)"),
        "generator_batch_size": Field(64, _COUNT, "images of G's own update"),
        "accumulate": Field(
            1, _COUNT, "parts of each batch, computed one by one in the memory of one; batch norm "
            "sees one part at a time", later=True),
        "discriminator_batches": Field(
            "apart", _one_of(("apart", "together")),
            "whether D sees real and fake images in two forward passes or in one"),
        "learning_rate": Field(2e-4, _POSITIVE, "Adam's α, before the decay of lr_decay_start"),
        "beta1": Field(0.5, _DECAY, "Adam's β₁"),
        "beta2": Field(0.999, _DECAY, "Adam's β₂"),
        "n_dis": Field(1, _COUNT, "updates of D for each update of G"),
        "lr_decay_start": Field(
            1.0, Rule(lambda v: 0 <= v <= 1, "a fraction of the run, from 0 to 1"),
            "the learning rate is constant up to here, then falls linearly to zero"),
        "ema_decay": Field(
            0.0, _DECAY,
            "decay of a moving average of G, used for samples; 0: none, as in the paper")},
    # docs/metrics.md
    "Scores while training": {
        "evaluate_every": Field(
            0, _COUNT_OR_NONE, "iterations between two scores; 0: never", later=True),
        "evaluate_extractor": Field(
            "inception", _one_of(METRICS), "network whose features are compared", later=True),
        "evaluate_metrics": Field("fid", _TEXT, "names of scores, separated by commas", later=True),
        "evaluate_images": Field(
            5000, Rule(lambda v: 2 <= v < 2**31, "a whole number of at least 2, below 2**31"),
            "number of real and of generated images", later=True)},
    "Files": {
        "log_every": Field(100, _COUNT, "iterations between two rows of metrics.jsonl"),
        "sample_every": Field(1000, _COUNT, "iterations between two sample grids"),
        "num_samples": Field(100, _COUNT, "images in a grid"),
        "checkpoint_every": Field(5000, _COUNT, "iterations between two checkpoints"),
        "keep_checkpoints": Field(
            2, _COUNT, "number of newest checkpoints to keep, besides the best by the first score"),
        "keep_every": Field(
            0, _COUNT_OR_NONE,
            "also keep the checkpoints at multiples of this many iterations; 0: none", later=True),
        "checkpoint_minutes": Field(
            0.0, _COEFFICIENT,
            "also write a checkpoint every so many minutes; 0: never", later=True),
        "on_nan": Field(
            "stop", _one_of(("stop", "rollback")),
            "on NaN or infinity: stop, or return to the last checkpoint and use other data",
            later=True),
        "on_nan_rollbacks": Field(
            3, _COUNT, "number of rollbacks before the run stops", later=True)},
}
FIELDS: dict[str, Field] = {name: field for section in SECTIONS.values()
                            for name, field in section.items()}


def defaults() -> JsonObject:
    """The paper's standard CNN with spectral normalization on CIFAR-10, in setting C."""
    return {name: field.default for name, field in FIELDS.items()}


def completed(config: JsonObject) -> JsonObject:
    """An older run's config, completed with the defaults of fields that were added since."""
    return {**{name: field.default for name, field in FIELDS.items() if field.later}, **config}
