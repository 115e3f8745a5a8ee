"""Linen layers whose weight is normalised: the same layer, with W/σ(W) in place of W.

A reparametrisation is a function of the weight, so a layer that has one is a subclass that
intercepts Linen's `param` and nothing else: strides, padding, masks, dtypes stay Linen's own.

The power iteration's vectors live in the collection 'spectral', beside the layer's parameters:

    variables = model.init(key, x)      # 'params' is exactly the plain layer's
    y, new = model.apply(variables, x, mutable=['spectral'])    # training: a power step
    y = model.apply(variables, x)       # evaluation: the stored vectors, no iteration
"""

import functools
import math

import jax
from flax import linen as nn
from flax.core import meta
from jax import lax

from sngan_jax import spectral

COLLECTION = "spectral"


def normalized(layer_class, *, weights=None, **defaults):
    """A subclass of a Linen layer class whose weight is divided by a norm of it.

    Every constructor argument of the layer class is kept. These keyword arguments are added, here
    as defaults of the new class and in its constructor:

      norm: 'spectral', the largest singular value of the (outputs, rest) matrix of the paper.
      n_steps: power steps in each forward pass that updates (paper: 1, Appendix A).
      warmup_steps: power steps at init (15; 0 is the paper's).
      lipschitz: K of W̄ = K·W/σ (paper: 1).
      cap: divide only where σ > K (Gouk et al. 2018).

    Args:
      layer_class: `nn.Dense`, `nn.Conv`, …, or a layer of your own.
      weights: for a layer of your own, the names of its weights and their layouts (see
        `spectral.matricize`), such as {'kernel': 'io'}. By default 'kernel' and 'embedding', the
        last axis being the output.
      **defaults: any of the arguments above.

    Returns:
      the class; equal arguments give the same class.

    Raises:
      ValueError: for an argument out of its range; at construction too.
    """
    layouts = None if weights is None else tuple(sorted(weights.items()))
    return _build(layer_class, layouts, tuple(sorted(defaults.items())))


@functools.cache
def _build(layer_class, weights, defaults):
    options = dict(defaults)

    class Normalized(layer_class, kw_only=True):
        norm: str = options.pop("norm", "spectral")
        n_steps: int = options.pop("n_steps", 1)
        warmup_steps: int = options.pop("warmup_steps", 15)
        lipschitz: float = options.pop("lipschitz", 1.0)
        cap: bool = options.pop("cap", False)

        def __post_init__(self):
            _check_options(self)
            super().__post_init__()

        @nn.nowrap
        def param(self, name, init_fn, *init_args, unbox=True, **init_kwargs):
            known = dict(weights) if weights else {"kernel": None, "embedding": None}
            if name not in known:
                return super().param(name, init_fn, *init_args, unbox=unbox, **init_kwargs)
            boxed = super().param(name, init_fn, *init_args, unbox=False, **init_kwargs)
            weight = meta.unbox(boxed)
            bar = _normalize(self, weight, known[name] or _layout(self, weight))
            return bar if unbox else meta.replace_boxed(boxed, bar)

    if options:
        raise TypeError(f"normalized() got unknown arguments: {', '.join(sorted(options))}")
    Normalized.__name__ = f"SN{layer_class.__name__}"
    Normalized.__qualname__ = Normalized.__name__
    return Normalized


def _layout(layer, weight):
    if isinstance(layer, nn.ConvTranspose) and layer.transpose_kernel:
        return "s" * (weight.ndim - 2) + "oi"
    if isinstance(layer, nn.Conv | nn.ConvTranspose):
        return "s" * (weight.ndim - 2) + "io"
    return "i" * (weight.ndim - 1) + "o"


def _normalize(layer, weight, layout):
    mask = getattr(layer, "mask", None)
    wide = weight.astype(spectral.iteration_dtype(weight.dtype))
    matrix = spectral.matricize(wide if mask is None else wide * mask, layout)
    if not layer.has_variable(COLLECTION, "u"):
        _init_vectors(layer, matrix)
    steps = layer.n_steps
    if layer.is_initializing() or not layer.is_mutable_collection(COLLECTION):
        steps = 0
    u, v = (layer.get_variable(COLLECTION, name) for name in "uv")
    sigma, u, v = spectral.power_iteration(matrix, u, v, steps)
    if steps:
        layer.put_variable(COLLECTION, "u", u)
        layer.put_variable(COLLECTION, "v", v)
    return spectral.divide(wide, sigma, layer.lipschitz, layer.cap).astype(weight.dtype)


def _init_vectors(layer, matrix):
    if not layer.is_initializing():
        raise ValueError(
            f"{type(layer).__name__} at '{'/'.join(layer.path)}' has no 'spectral' collection: "
            "pass apply the variables that init returned, {'params': …, 'spectral': …}"
        )
    # Not the 'params' stream: the parameters must be those of the plain layer.
    key = layer.make_rng(COLLECTION) if layer.has_rng(COLLECTION) else jax.random.key(0)
    keys = jax.random.split(key)
    drawn = [
        jax.random.normal(key, (size,), matrix.dtype)
        for key, size in zip(keys, matrix.shape, strict=True)
    ]
    u, v = (spectral.unit(x, x) for x in drawn)
    constant = lax.stop_gradient(matrix)
    _, u, v = spectral.power_iteration(constant, u, v, layer.warmup_steps)
    layer.put_variable(COLLECTION, "u", u)
    layer.put_variable(COLLECTION, "v", v)


def _check_options(layer):
    name = type(layer).__name__
    if layer.norm != "spectral":
        raise ValueError(f"{name}: norm={layer.norm!r} is unknown: use 'spectral'")
    if not (layer.lipschitz > 0 and math.isfinite(layer.lipschitz)):
        raise ValueError(f"{name}: lipschitz={layer.lipschitz} must be a positive number")
    if layer.n_steps < 1:
        raise ValueError(f"{name}: n_steps={layer.n_steps} must be at least 1")
    if layer.warmup_steps < 0:
        raise ValueError(f"{name}: warmup_steps={layer.warmup_steps} must be 0 or more")


SNDense = normalized(nn.Dense)
SNConv = normalized(nn.Conv)
SNConvTranspose = normalized(nn.ConvTranspose)
SNEmbed = normalized(nn.Embed)
for _class in (SNDense, SNConv, SNConvTranspose, SNEmbed):
    _class.__module__ = __name__
