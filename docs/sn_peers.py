"""Spectrally normalized layers of several libraries behind one small interface, for `compare_sn`.

Every layer has `train(x)` and `evaluate(x)`, which return its output, and `stored()`, the weight
that the library keeps. JAX layers also count the products in their evaluation.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx


class Peer(NamedTuple):
    """package: what to import; distribution: its name on the index; load: () → its layers."""

    package: str
    distribution: str
    load: Callable


class _Layers(NamedTuple):
    dense: Callable
    conv_transpose: Callable


def _constant(kernel):
    return lambda key, shape, dtype=jnp.float32: jnp.asarray(kernel, dtype).reshape(shape)


def _count_products(function, *args):
    return str(jax.make_jaxpr(function)(*args)).count("dot_general[")


class _Linen:
    """A Linen module whose state changes in training passes."""

    def __init__(self, module, x, train, evaluate):
        self._variables = module.init(jax.random.key(0), x, **({"update_stats": False}
                                      if isinstance(module, nn.SpectralNorm) else {}))
        self._train = jax.jit(functools.partial(train, module))
        self._evaluate = functools.partial(evaluate, module)

    def train(self, x):
        y, new = self._train(self._variables, x)
        self._variables = {**self._variables, **new}
        return y

    def evaluate(self, x):
        return self._evaluate(self._variables, x)

    def stored(self):
        (kernel,) = jax.tree.leaves(self._variables["params"])
        return kernel

    def evaluation_products(self, x):
        return _count_products(self._evaluate, self._variables, x)


def _ours():
    from sngan_jax import SNConvTranspose, SNDense

    make = functools.partial(
        _Linen,
        train=lambda m, v, x: m.apply(v, x, mutable=["spectral"]),
        evaluate=lambda m, v, x: m.apply(v, x))
    return _linen_layers(make, SNDense, SNConvTranspose)


def _flax_linen():
    make = functools.partial(
        _Linen,
        train=lambda m, v, x: m.apply(v, x, update_stats=True, mutable=["batch_stats"]),
        evaluate=lambda m, v, x: m.apply(v, x, update_stats=False))

    def normalized(layer):
        return lambda *args, **kwargs: nn.SpectralNorm(layer(*args, **kwargs))

    return _linen_layers(make, normalized(nn.Dense), normalized(nn.ConvTranspose))


def _linen_layers(make, dense, conv_transpose):
    def make_dense(kernel):
        n, features = kernel.shape
        layer = dense(features, use_bias=False, kernel_init=_constant(kernel))
        return make(layer, jnp.eye(n))

    def make_conv_transpose(n, features, transpose_kernel):
        layer = conv_transpose(features, (2, 2), (2, 2), use_bias=False,
                               transpose_kernel=transpose_kernel)
        return make(layer, jnp.zeros((1, 1, 1, n)))

    return _Layers(make_dense, make_conv_transpose)


class _NNX:
    """A module of NNX; how: arguments of a call in training (True) and at evaluation (False)."""

    def __init__(self, layer, stored, how):
        self._layer, self._stored, self._how = layer, stored, how

    def train(self, x):
        return self._layer(jnp.asarray(x, jnp.float32), **self._how(True))

    def evaluate(self, x):
        return self._layer(jnp.asarray(x, jnp.float32), **self._how(False))

    def stored(self):
        return self._stored.kernel[...]

    def evaluation_products(self, x):
        graph, state = nnx.split(self._layer)
        return _count_products(lambda s, x: nnx.merge(graph, s)(x, **self._how(False)), state,
                               jnp.asarray(x, jnp.float32))


def _ours_nnx():
    from sngan_jax.nnx import SNConvTranspose, SNLinear

    def make(layer):
        return _NNX(layer, layer, lambda train: {"use_running_average": not train})

    return _nnx_layers(make, SNLinear, SNConvTranspose)


def _flax_nnx():
    def make(layer):
        return _NNX(nnx.SpectralNorm(layer, rngs=nnx.Rngs(0)), layer,
                    lambda train: {"update_stats": train})

    return _nnx_layers(make, nnx.Linear, nnx.ConvTranspose)


def _nnx_layers(make, linear, conv_transpose):
    def make_dense(kernel):
        return make(linear(*kernel.shape, use_bias=False, kernel_init=_constant(kernel),
                           rngs=nnx.Rngs(0)))

    def make_conv_transpose(n, features, transpose_kernel):
        return make(conv_transpose(n, features, (2, 2), (2, 2), use_bias=False,
                                   transpose_kernel=transpose_kernel, rngs=nnx.Rngs(0)))

    return _Layers(make_dense, make_conv_transpose)


class _Haiku:
    def __init__(self, layer, x):
        import haiku as hk

        def forward(x, update):
            return layer(hk.SpectralNorm())(x, update)

        self._model = hk.transform_with_state(forward)
        self._params, self._state = self._model.init(jax.random.key(0), x, True)
        self._step = jax.jit(self._model.apply, static_argnums=4)

    def train(self, x):
        y, self._state = self._step(self._params, self._state, None, x, True)
        return y

    def evaluate(self, x):
        return self._model.apply(self._params, self._state, None, x, False)[0]

    def stored(self):
        (kernel,) = jax.tree.leaves(self._params)
        return kernel

    def evaluation_products(self, x):
        return _count_products(lambda p, s, x: self._model.apply(p, s, None, x, False)[0],
                               self._params, self._state, x)


def _haiku():
    import haiku as hk

    def dense(kernel):
        def layer(norm):
            def call(x, update):
                w = hk.get_parameter("w", kernel.shape, init=lambda *_: jnp.asarray(kernel))
                return x @ norm(w, update_stats=update)
            return call
        return _Haiku(layer, jnp.eye(kernel.shape[0]))

    def conv_transpose(n, features, transpose_kernel):
        if transpose_kernel:
            return None

        def layer(norm):
            def call(x, update):
                # Haiku's own Conv2DTranspose stores (k, k, outputs, inputs).
                w = hk.get_parameter("w", (2, 2, features, n), init=hk.initializers.RandomNormal())
                return jax.lax.conv_transpose(
                    x, norm(w, update_stats=update), (2, 2), "SAME", transpose_kernel=True,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"))
            return call
        return _Haiku(layer, jnp.zeros((1, 1, 1, n)))

    return _Layers(dense, conv_transpose)


class _Torch:
    def __init__(self, layer):
        from torch.nn.utils.parametrizations import spectral_norm

        self._layer = spectral_norm(layer)

    def _call(self, x):
        import torch

        with torch.no_grad():
            x = torch.from_numpy(np.array(x, np.float32))
            images = x.ndim == 4
            y = self._layer(x.permute(0, 3, 1, 2) if images else x)
            return (y.permute(0, 2, 3, 1) if images else y).numpy()

    def train(self, x):
        self._layer.train()
        return self._call(x)

    def evaluate(self, x):
        self._layer.eval()
        return self._call(x)

    def stored(self):
        return self._layer.parametrizations.weight.original.detach().numpy()


def _torch():
    import torch

    torch.manual_seed(0)

    def dense(kernel):
        layer = torch.nn.Linear(*kernel.shape, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
        return _Torch(layer)

    def conv_transpose(n, features, transpose_kernel):
        if transpose_kernel:
            return None
        return _Torch(torch.nn.ConvTranspose2d(n, features, 2, 2, bias=False))

    return _Layers(dense, conv_transpose)


PEERS = {
    "sngan_jax": Peer("sngan_jax", "flax", _ours),
    "sngan_jax.nnx": Peer("sngan_jax", "flax", _ours_nnx),
    "flax.linen.SpectralNorm": Peer("flax", "flax", _flax_linen),
    "flax.nnx.SpectralNorm": Peer("flax", "flax", _flax_nnx),
    "torch parametrization": Peer("torch", "torch", _torch),
    "haiku.SpectralNorm": Peer("haiku", "dm-haiku", _haiku),
}
