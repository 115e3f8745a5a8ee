"""Divisors of a weight, as functions of arrays, and the vectors that some of them keep.

The paper's is 'spectral' (equations 6 and 8). `layers.Normalized` lists all of them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sngan_jax import spectral
from sngan_jax.spectral import Linear, LinearMap

Shape = tuple[int, ...]
State = dict[str, jax.Array]  # the vectors of a weight, by name


@dataclasses.dataclass(frozen=True)
class Spec:
    """A normalized weight: what its matrix is, and what it is divided by.

    Attributes:
      layout: one letter for each axis of the weight, see `spectral`; none for a stack's axes.
      divisor, n_steps, warmup_steps, lipschitz, learnable_scale: see `layers.Normalized`.
      mask: array that multiplies the weight, or None.
      operator: for divisor='operator' of a convolution, (the function that maps a weight to the
        layer's linear map of one image, without batch axis and bias; the shape of that image);
        otherwise None.
      stack: axes that `nn.scan` and `nn.vmap` added to the weight, in the order in which they were
        added; each is a position in the array as it was then. The outermost is last.
      state_stack: the same axes for its vectors; by default 0 for each.
      gamma_stack: the same axes for its learnt scale; by default `stack`.
    """

    layout: str = ""
    divisor: str = "spectral"
    n_steps: int = 1
    warmup_steps: int = 15
    lipschitz: float = 1.0
    learnable_scale: bool = False
    mask: jax.typing.ArrayLike | None = dataclasses.field(default=None, compare=False)
    operator: tuple[Callable[[jax.Array], Linear], Shape] | None = dataclasses.field(
        default=None, compare=False)
    stack: Shape = ()
    state_stack: Shape = ()
    gamma_stack: Shape = ()

    def __post_init__(self) -> None:
        for name, value in (("state_stack", self.state_stack or (0,) * len(self.stack)),
                            ("gamma_stack", self.gamma_stack or self.stack),
                            ("operator", self.operator if self.divisor == "operator" else None)):
            object.__setattr__(self, name, value)
        if not len(self.stack) == len(self.state_stack) == len(self.gamma_stack):
            raise ValueError(f"stack={self.stack}, state_stack={self.state_stack} and "
                             f"gamma_stack={self.gamma_stack} must have the same length")
        if self.divisor not in DIVISORS:
            raise ValueError(f"divisor={self.divisor!r} is unknown: use one of "
                             f"{', '.join(map(repr, DIVISORS))}")
        try:
            bounded = not isinstance(self.lipschitz, str) and 0 < float(self.lipschitz) < math.inf
        except (TypeError, ValueError):
            bounded = False
        if not bounded:
            raise ValueError(f"lipschitz={self.lipschitz!r} must be a positive number")
        for name, least, default in (("n_steps", 1, 1), ("warmup_steps", 0, 15)):
            number = getattr(self, name)
            if not spectral.is_whole(number) or number < least:
                raise ValueError(f"{name}={number!r} must be a whole number, {least} or more" + (
                    "; a layer at evaluation takes none" if least else ""))
            if self.divisor in STATELESS and number != default:
                raise ValueError(f"divisor={self.divisor!r} needs no power iteration, so leave out "
                                 f"{name}={number}")
        if not isinstance(self.learnable_scale, bool | np.bool_):
            raise ValueError(f"learnable_scale={self.learnable_scale!r} must be True or False")
        if self.learnable_scale and self.lipschitz != 1:
            raise ValueError("learnable_scale=True learns the scale that "
                             f"lipschitz={self.lipschitz} would fix: choose one")

    def widened(self, weight: jax.Array) -> jax.Array:
        """The weight, masked, in the dtype of the iteration."""
        wide = weight.astype(spectral.iteration_dtype(weight.dtype))
        return wide if self.mask is None else wide * jnp.asarray(self.mask, wide.dtype)

    def matrices(self, weight: jax.Array) -> dict[str, jax.Array]:
        """{suffix of u and v: (blocks, rows, columns)}: the matrices whose σ the divisor needs."""
        found = {"": spectral.matricize(weight, self.layout)}
        # Without a window the (inputs, rest) matrix is the transpose of the (outputs, rest) matrix.
        if self.divisor == "bidirectional" and "s" in self.layout:
            found["_in"] = spectral.matricize(weight, self.layout, "i")
        return found

    def shapes(self, weight: Any) -> dict[str, Shape]:
        """{name of a vector: its shape}; empty if the divisor needs no power iteration."""
        if self.divisor in STATELESS:
            return {}
        if self.operator is not None:
            linear, shape = self.operator
            image = jax.ShapeDtypeStruct(shape, weight.dtype)
            output = jax.eval_shape(lambda weight, image: linear(weight)(image), weight, image)
            return {"u_operator": output.shape, "v_operator": shape}
        found = jax.eval_shape(self.matrices, weight)
        return {letter + suffix: (len(matrix) * matrix.shape[axis],)
                for suffix, matrix in found.items() for letter, axis in (("u", 1), ("v", 2))}

    def measure(self, weight: jax.Array, state: State, steps: int) -> tuple[jax.Array, State]:
        """The divisor of a widened weight, and the vectors after `steps` power steps.

        The divisor is a scalar or broadcasts against the weight, and is differentiable in it.
        """
        weight = spectral.gathered(weight)
        if self.divisor in STATELESS:
            return STATELESS[self.divisor](weight, self.layout), {}
        if self.operator is not None:
            linear, shape = self.operator
            transpose = jax.linear_transpose(linear(lax.stop_gradient(weight)),
                                             jax.ShapeDtypeStruct(shape, weight.dtype))
            sigma, u, v = spectral.power_iteration(
                LinearMap(linear(weight), lambda y: transpose(y)[0]),
                state["u_operator"], state["v_operator"], steps)
            return sigma, {"u_operator": u, "v_operator": v}
        sigmas: list[jax.Array] = []
        new: State = {}
        iterate = spectral.compiled_power_iteration if steps > 1 else spectral.power_iteration
        for suffix, matrix in self.matrices(weight).items():
            u, v = (state[letter + suffix].reshape(len(matrix), -1) for letter in "uv")
            if len(matrix) == 1:
                sigma, u, v = iterate(matrix[0], u[0], v[0], steps)
            else:  # each block has its own vectors, so all converge, even if several σ are close
                sigma, u, v = jax.vmap(functools.partial(iterate, steps=steps))(matrix, u, v)
            sigmas.append(jnp.max(sigma))
            new |= {"u" + suffix: u.reshape(-1), "v" + suffix: v.reshape(-1)}
        return jnp.mean(jnp.stack(sigmas)) if len(sigmas) > 1 else sigmas[0], new

    def start(self, weight: jax.Array, key: jax.Array) -> State:
        """The vectors of a widened weight after the warm-up, from random unit vectors.

        At least one step is taken: σ = uᵀWv of two random vectors may be negative or tiny. A learnt
        scale starts at σ, so it takes enough steps for an estimate that is about one percent off.
        """
        shapes = sorted(self.shapes(weight).items())
        keys = jax.random.split(key, max(len(shapes), 1))
        drawn = {name: jax.random.normal(key, shape, weight.dtype)
                 for key, (name, shape) in zip(keys, shapes, strict=False)}
        state = {name: spectral.unit(x, x) for name, x in drawn.items()}
        steps = max(self.warmup_steps, 100 if self.learnable_scale else 1)
        return self.measure(lax.stop_gradient(weight), state, steps)[1]


def checked_vectors(held: Mapping[str, Any], shapes: Mapping[str, Shape], where: str, missing: str
                    ) -> State:
    """The vectors in `held`; ValueError if one is missing or has another shape."""
    for name, shape in shapes.items():
        if name not in held:
            raise ValueError(f"{where} finds no {name} in the collection 'spectral': {missing}")
        if held[name].shape != tuple(shape):
            raise ValueError(
                f"{where}: '{name}' in 'spectral' has the shape {held[name].shape} and the "
                f"weight needs {tuple(shape)}: pass the collections of one model; the norm of a "
                "convolution itself holds for one input size only, the one given to init")
    return {name: held[name] for name in shapes}


def _length(x: jax.Array, axes: Shape | None = None) -> jax.Array:
    # The square root has no derivative at zero; here it is set to zero.
    squared = jnp.sum(jnp.square(x), axis=axes, keepdims=axes is not None)
    return jnp.where(squared == 0, 0, jnp.sqrt(jnp.where(squared == 0, 1, squared)))


def _row_lengths(weight: jax.Array, layout: str) -> jax.Array:
    return _length(weight, tuple(axis for axis, letter in enumerate(layout)
                                 if letter not in "bo"))


def _by_svd(weight: jax.Array, layout: str) -> jax.Array:
    matrix = spectral.matricize(weight, layout)
    u, _, vt = jnp.linalg.svd(lax.stop_gradient(matrix), full_matrices=False)
    # As after a power iteration, u and v are held constant, so that dσ/dW = u vᵀ.
    return jnp.max(jnp.einsum("br,brc,bc->b", u[:, :, 0], matrix, vt[:, 0],
                              precision=lax.Precision.HIGHEST))


# Divisors without vectors: (weight, layout) → a scalar, or an array that broadcasts against the
# weight.
STATELESS: dict[str, Callable[[jax.Array, str], jax.Array]] = {
    # Each row's length (Salimans, Kingma, "Weight Normalization", NeurIPS 2016; paper, section 4).
    "weight": _row_lengths,
    "frobenius": lambda weight, layout: _length(weight),  # the paper's Appendix E
    "svd": _by_svd,  # the exact value that 'spectral' estimates, in every forward pass
}
# σ of the (outputs, rest) matrix, the paper's. The norm of the convolution itself (Farnia, Zhang,
# Tse, "Generalizable Adversarial Training via Spectral Normalization", ICLR 2019). The mean of σ of
# the (outputs, rest) and the (inputs, rest) matrix (Lin, Sekar, Fanti, "Why Spectral Normalization
# Stabilizes GANs", NeurIPS 2021).
DIVISORS = ("spectral", "operator", "bidirectional", *STATELESS)
