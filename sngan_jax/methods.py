"""The methods that the paper compares (Tables 2 and 7), and a few more: {name: its parts}.

A method chooses the discriminator's layers, its activation norm, the loss, a regularizer and a
constraint. The models and the training step take these parts and do not know the method.
docs/extend.md shows how to add one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from sngan_jax.activation_norms import BatchNorm, LayerNorm, Norm
from sngan_jax.base.types import Config
from sngan_jax.layers import Layer, normalized


class Layers(NamedTuple):
    """The layer classes of a discriminator."""

    conv: Layer = nn.Conv
    dense: Layer = nn.Dense
    embed: Layer = nn.Embed


class Method(NamedTuple):
    """A row of the paper's tables.

    layers: config -> `Layers`.
    loss, activation_norm, regularizer, constraint: keys of `losses.LOSSES`, `ACTIVATION_NORMS`,
      `regularizers.REGULARIZERS` and `regularizers.CONSTRAINTS`.
    """

    layers: Callable[[Config], Layers] = lambda config: Layers()
    loss: str = "non_saturating"
    activation_norm: str = "none"
    regularizer: str = "none"
    constraint: str = "none"


def _divided(divisor: str, **options: Any) -> Layers:
    plain: tuple[type[nn.Module], ...] = (nn.Conv, nn.Dense, nn.Embed)
    return Layers(*(normalized(layer, divisor=divisor, **options) for layer in plain))


def _iterated(divisor: str, config: Config, **options: Any) -> Layers:
    return _divided(divisor, n_steps=config.power_steps, warmup_steps=config.power_warmup,
                    **options)


def _bounded(divisor: str) -> Method:
    """K·W/σ, with σ by power iteration."""
    return Method(lambda config: _iterated(divisor, config, lipschitz=config.lipschitz))


def _orthonormal(config: Config) -> Layers:
    del config
    plain, init = Layers(), nn.initializers.orthogonal()
    return Layers(conv=_started(plain.conv, kernel_init=init),
                  dense=_started(plain.dense, kernel_init=init),
                  embed=_started(plain.embed, embedding_init=init))


def _started(layer: Layer, **init: nn.initializers.Initializer) -> Layer:
    """The layer, with initializers that replace the model's own."""
    return lambda *args, **kwargs: layer(*args, **{**kwargs, **init})


METHODS: dict[str, Method] = {
    "sn": _bounded("spectral"),
    "weight_clipping": Method(constraint="clip"),
    "gan_gp": Method(regularizer="gradient_penalty"),
    "wgan_gp": Method(loss="wasserstein", regularizer="gradient_penalty"),
    "batch_norm": Method(activation_norm="batch"),
    "layer_norm": Method(activation_norm="layer"),
    "weight_norm": Method(lambda config: _divided("weight", lipschitz=config.lipschitz)),
    "frobenius": Method(lambda config: _divided("frobenius", lipschitz=config.lipschitz)),
    "orthonormal": Method(_orthonormal, regularizer="orthonormal"),
    "none": Method(),
    # Appendix E: W = γ·W/|W| with a learnt γ, in the critic of WGAN-GP.
    "sn_wgan_gp": Method(lambda config: _iterated("spectral", config, learnable_scale=True),
                         "wasserstein", regularizer="gradient_penalty"),
    "wn_wgan_gp": Method(lambda config: _divided("weight", learnable_scale=True), "wasserstein",
                         regularizer="gradient_penalty"),
    "frobenius_wgan_gp": Method(lambda config: _divided("frobenius", learnable_scale=True),
                                "wasserstein", regularizer="gradient_penalty"),
    # Not in the paper: sn with σ by SVD, with the norm of the convolution itself (Farnia et al.
    # 2019), and with the mean of the σ of two reshapes (Lin et al. 2021).
    "sn_svd": Method(lambda config: _divided("svd", lipschitz=config.lipschitz)),
    "sn_operator": _bounded("operator"),
    "sn_bidirectional": _bounded("bidirectional"),
    # Plain layers, whose weights are divided after an update if σ > K (Gouk et al. 2018).
    "weight_projection": Method(constraint="project"),
}

# Norms of the discriminator's activations, without the multiplier γ (paper §4.1):
# {name: (config, the pmap axis over which statistics are averaged) -> norm}.
ACTIVATION_NORMS: dict[str, Callable[[Config, str | None], Norm]] = {
    "none": lambda config, axis_name: None,
    "batch": lambda config, axis_name: functools.partial(
        BatchNorm, use_scale=False, momentum=config.bn_decay, epsilon=config.bn_epsilon,
        axis_name=axis_name, dtype=config.dtype),
    "layer": lambda config, axis_name: functools.partial(LayerNorm, dtype=config.dtype),
}


def method_of(config: Config) -> Method:
    """The method of a config, with the parts that the config replaces.

    Args:
      config: needs the fields `method`, `loss`, `discriminator_norm` and `regularizer`; an empty
        one of the last three keeps the method's own.
    """
    replaced = {"loss": config.loss, "activation_norm": config.discriminator_norm,
                "regularizer": config.regularizer}
    return METHODS[config.method]._replace(**{k: v for k, v in replaced.items() if v})


def layer_fields(method: Method, config: Mapping[str, object]) -> set[str]:
    """The fields of the config that the method's layers depend on."""
    class Recorder:
        def __init__(self) -> None:
            self.read: set[str] = set()

        def __getattr__(self, name: str) -> object:
            self.read.add(name)
            return config[name]

    recorder = Recorder()
    method.layers(recorder)
    return recorder.read
