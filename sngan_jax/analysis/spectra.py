"""The linear layers of a network in its forward pass: W̄, and its singular values.

W̄ is the matrix by which a layer multiplies its input: the stored weight after the division by σ
and the factor K, after weight normalization, times a learnt γ, clipped; in a plain layer, the
stored weight itself. It is caught where the layer asks Linen for it, and checked against the
layer's output, so the same lines serve every method of `methods.py` and your own layers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta
from flax.linen.module import InterceptorContext

from sngan_jax.base.errors import UserError
from sngan_jax.base.types import Leaf, PyTree
from sngan_jax.linen import LINEAR, WEIGHTS, geometry_of, layout_of, mask_of
from sngan_jax.models.convolution import conv_general_dilated
from sngan_jax.models.resample import as_convolution, average_pool, conv_pool, conv_pool_on_cpu
from sngan_jax.spectral import matricize
from sngan_jax.step.forward import Variables

# Used by a convolution in place of lax's: the same function, or one followed by a mean over
# squares.
_PRODUCTS = (conv_general_dilated, *map(as_convolution, (conv_pool, conv_pool_on_cpu)))
Input = jax.Array | np.ndarray | jax.ShapeDtypeStruct | None


class LinearLayer(NamedTuple):
    """One layer of a network, as the forward pass uses it.

    kind: its Linen class, such as 'Conv'.
    weight: W̄, float64, a convolution's mask applied.
    layout: one letter for each axis of the weight, see `spectral.matricize`.
    geometry: for a convolution, (the plain Linen layer without bias, the shape of one input image);
      otherwise None.
    """

    kind: str
    weight: np.ndarray
    layout: str
    geometry: tuple[nn.Module, tuple[int, ...]] | None


def linear_layers(module: nn.Module, variables: Variables, *inputs: Input
                  ) -> dict[str, LinearLayer]:
    """Every linear layer of a network, in the order of its forward pass.

    Args:
      module: an unbound Linen module, such as a discriminator.
      variables: its collections; the forward pass is an evaluation, without a power step.
      *inputs: arrays or `jax.ShapeDtypeStruct`s with which the module is called; only their shapes
        matter.

    Returns:
      {'block1/conv1': layer, …}, by the layers' paths.

    Raises:
      UserError: for a layer that has a weight but is not one of Linen's, or uses it in another way;
        for layers inside `nn.scan` or `nn.vmap`; and for weights that are not finite.
    """
    known: dict[str, tuple] = {}

    def forward(variables: Variables, *inputs: jax.Array | None
                ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        caught: dict[str, jax.Array] = {}
        wrong: dict[str, jax.Array] = {}
        looking = [False]  # inside one layer, where further calls are not layers of the network

        def intercept(call_next: Callable, args: tuple, kwargs: dict,
                      context: InterceptorContext) -> object:
            layer = context.module
            name = "/".join(layer.path) or type(layer).__name__
            if context.method_name != "__call__" or name in caught or looking[0]:
                return call_next(*args, **kwargs)
            if not isinstance(layer, LINEAR):
                _check_contains_no_weight(layer, name)
                return call_next(*args, **kwargs)
            _check_product(layer, name)
            looking[0] = True
            bare = _bare(layer)
            noise = _noise(layer, args[0])
            with _caught(layer) as weights:
                output = call_next(noise, *args[1:], **kwargs)
            if len(weights) != 1:
                raise UserError(f"{name} ({type(layer).__name__}) has no weight of its own that "
                                "can be looked at: use one of Linen's layers or a subclass")
            weight = weights[0]
            parameters = _parameters(layer, weight)
            if not _is_linens(layer):
                again: PyTree = bare.apply(parameters, noise, *args[1:], **kwargs)
                wrong[name] = _difference(output, again)
            mask = mask_of(layer)
            caught[name] = weight if mask is None else weight * mask
            call = args, kwargs
            known[name] = (_plain_class(layer).__name__, layout_of(layer, weight, call),
                           geometry_of(layer, call))
            # Linen lets a layer declare its parameters only once, so the bare one continues.
            result = bare.apply(parameters, *args, **kwargs)
            looking[0] = False
            return result

        with nn.intercept_methods(intercept):
            module.apply(variables, *inputs)
        return caught, wrong

    zeros = [x if x is None else jnp.zeros(x.shape, x.dtype) for x in inputs]
    try:
        with jax.default_matmul_precision("highest"):
            caught, wrong = jax.jit(forward)(variables, *zeros)
    except jax.errors.UnexpectedTracerError as error:
        raise UserError(f"{type(module).__name__} has layers inside nn.scan, nn.vmap or nn.remat, "
                        "which cannot be inspected one by one: write them out") from error
    for name, weight in caught.items():
        if not jnp.isfinite(weight).all():
            raise UserError(f"the weight of {name} holds NaN or infinity: the network has "
                            "diverged; use an earlier checkpoint")
    for name, difference in wrong.items():
        if not difference < 1e-3:
            raise UserError(f"{name} does not multiply its input by the weight that Linen's "
                            f"{known[name][0]} would (relative difference {difference:.2g}): "
                            "only layers that change their weight in `param` are supported")
    return {name: LinearLayer(kind, np.asarray(caught[name]).astype(np.float64), *rest)
            for name, (kind, *rest) in known.items()}


def layer_spectra(module: nn.Module, variables: Variables, *inputs: Input
                  ) -> dict[str, np.ndarray]:
    """All singular values of every linear layer's W̄ as the paper's (outputs, rest) matrix.

    Arguments and errors are as for `linear_layers`.

    Returns:
      {'block1/conv1': float64 (n,) in descending order, …} in the order of the forward pass, n the
      smaller side of the matrix.
    """
    return {name: layer_singular_values(layer)
            for name, layer in linear_layers(module, variables, *inputs).items()}


def layer_singular_values(layer: LinearLayer) -> np.ndarray:
    """Singular values of the (outputs, rest) matrix (paper §2.1): float64 (n,), descending."""
    weight: Leaf = layer.weight  # only NumPy keeps it in float64
    values = np.linalg.svd(matricize(weight, layer.layout), compute_uv=False)
    return np.sort(values.reshape(-1))[::-1]


def stable_rank(values: np.ndarray) -> float:
    """‖W̄‖_F² / σ² from a matrix's singular values (n,): from 1 to its rank; 0 if it is zero."""
    largest = values.max(initial=0)
    return float(np.sum((values / largest) ** 2)) if largest > 0 else 0.0


def layer_operator_norm(layer: LinearLayer, pooled: bool = False) -> float:
    """max ‖layer(x)‖₂ / ‖x‖₂ over the layer's inputs, without its bias.

    A convolution is taken at the size, stride and padding that it has in the network. ARPACK finds
    its norm; the residual is added, so that the error is upwards, for use as an upper bound. In
    theory it can miss the largest value, if the first vector is orthogonal to it; a random one is
    not.

    Args:
      pooled: whether a mean over 2x2 squares follows, as part of the linear map.
    """
    if layer.geometry is None:
        return float(layer_singular_values(layer)[0])
    from scipy.sparse.linalg import LinearOperator, eigsh  # slow to import, and needed only here

    plain, image_shape = layer.geometry
    weight, size = jnp.asarray(layer.weight, jnp.float32), math.prod(image_shape)

    def product(x: np.ndarray) -> np.ndarray:
        image = jnp.asarray(x.reshape(image_shape), jnp.float32)
        return np.asarray(_normal(plain, pooled, weight, image), np.float64).reshape(-1)

    start = np.random.default_rng(0).standard_normal(size)
    if size == 1 or not product(start).any():  # which ARPACK does not take
        return math.sqrt(product(np.ones(size))[0])
    values, vectors = eigsh(LinearOperator((size, size), matvec=product, dtype=np.float64), 1,
                            v0=start, tol=1e-4)
    residual = np.linalg.norm(product(vectors[:, 0]) - values[0] * vectors[:, 0])
    return math.sqrt(max(values[0], 0) + residual)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _normal(plain: nn.Module, pooled: bool, weight: jax.Array, x: jax.Array) -> jax.Array:
    """AᵀA x for the convolution A and one image x."""
    def linear(x: jax.Array) -> jax.Array:
        y: PyTree = plain.apply({"params": {"kernel": weight}}, x)
        return average_pool(y[None])[0] if pooled else y

    y, transpose = jax.vjp(linear, x)
    return transpose(y)[0]


@contextlib.contextmanager
def _caught(layer: nn.Module) -> Iterator[list[jax.Array]]:
    """Context that collects the weights which layers request from Linen."""
    weights: list[jax.Array] = []
    if isinstance(layer, nn.Embed):
        weights.append(layer.embedding)
        yield weights
        return
    declare = layer.param

    def param(name: str, *args: Any, **kwargs: Any) -> PyTree:
        value = declare(name, *args, **kwargs)
        if name in WEIGHTS:
            weights.append(meta.unbox(value))
        return value

    object.__setattr__(layer, "param", param)
    try:
        yield weights
    finally:
        object.__delattr__(layer, "param")


def _is_linens(layer: nn.Module) -> bool:
    """Whether a layer's class is Linen's, or such a class as changed by `layers.normalized`."""
    kind = type(layer)
    return getattr(kind, "plain_class", kind) in LINEAR


def _plain_class(layer: nn.Module) -> type[nn.Module]:
    return next(kind for kind in LINEAR if isinstance(layer, kind))


def _bare(layer: nn.Module) -> nn.Module:
    plain = _plain_class(layer)
    fields = {f.name: getattr(layer, f.name) for f in dataclasses.fields(plain)
              if f.name not in ("parent", "name")}
    return plain(**fields, parent=None)


def _noise(layer: nn.Module, x: jax.Array) -> jax.Array:
    if isinstance(layer, nn.Embed):
        return jnp.arange(layer.num_embeddings).astype(x.dtype)
    return jax.random.normal(jax.random.key(0), x.shape, x.dtype)


def _parameters(layer: nn.Module, weight: jax.Array) -> Variables:
    own = meta.unbox(layer.variables["params"])
    bias = {"bias": own["bias"]} if "bias" in own else {}
    return {"params": {"embedding" if isinstance(layer, nn.Embed) else "kernel": weight, **bias}}


def _difference(a: jax.Array, b: jax.Array) -> jax.Array:
    """The largest difference of `b` from `a`, relative to the largest value of `a`."""
    if a.shape != b.shape:
        return jnp.float32(jnp.inf)
    tiny = jnp.finfo(jnp.float32).tiny
    return jnp.max(jnp.abs(a - b)) / jnp.maximum(jnp.max(jnp.abs(a)), tiny)


def _check_product(layer: nn.Module, name: str) -> None:
    """Allows only those replacements of a layer's product that are known to equal it."""
    for field in ("conv_general_dilated", "conv_general_dilated_cls", "dot_general",
                  "dot_general_cls"):
        given = getattr(layer, field, None)
        if given is not None and given not in _PRODUCTS:
            raise UserError(f"{name} has a {field} of its own, whose effect on the weight is not "
                            "known: leave the field out")


def _check_contains_no_weight(layer: nn.Module, name: str) -> None:
    own = layer.variables.get("params", {})
    if taken := [key for key in WEIGHTS if hasattr(own.get(key), "ndim")]:
        raise UserError(f"{name} ({type(layer).__name__}) has a parameter '{taken[0]}' but is not "
                        "one of Linen's linear layers: make it a subclass of one, such as nn.Conv; "
                        "otherwise its matrix is not known")
