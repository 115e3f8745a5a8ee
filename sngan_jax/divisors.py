"""What a weight can be divided by, as functions of arrays, and the vectors that some of them keep.

The paper's is 'spectral' (equations 6 and 8). `layers.normalized` lists all of them.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from sngan_jax import spectral
from sngan_jax.spectral import Linear, LinearMap

Shape = tuple[int, ...]
State = dict[str, jax.Array]  # the vectors of a weight by their names


@dataclasses.dataclass(frozen=True)
class Spec:
    """A normalised weight: what its matrix is, and what it is divided by.

    Attributes:
      layout: one letter for each axis of the weight; see `spectral`. Axes that `nn.scan` or
        `nn.vmap` added have none.
      divisor: key of `DIVISORS`.
      lipschitz: K.
      learnable_scale: whether a parameter γ, beside the weight, takes K's place.
      mask: array that multiplies the weight, or None.
      operator: for divisor='operator' of a convolution, (weight → the linear function of one image
        that the layer is, without batch axis and bias; the shape of that image); else None.
      stack: axes that were added to the weight, each at its place in the array of its time, the
        outermost last.
      state_stack: the same axes of its vectors.
    """

    layout: str
    divisor: str = "spectral"
    lipschitz: float = 1.0
    learnable_scale: bool = False
    mask: jax.typing.ArrayLike | None = None
    operator: tuple[Callable[[jax.Array], Linear], Shape] | None = None
    stack: Shape = ()
    state_stack: Shape = ()

    def __post_init__(self) -> None:
        if self.divisor not in DIVISORS:
            raise ValueError(f"divisor={self.divisor!r} is unknown: use one of "
                             f"{', '.join(map(repr, DIVISORS))}")


class Divisor(NamedTuple):
    """What W is divided by.

    shapes: (weight, spec) → {name of a vector: its shape}; empty for one without power iteration.
    measure: (weight, spec, state, power steps) → (a scalar, or an array that broadcasts against
      the weight, differentiable in it; the state after the steps).
    """

    shapes: Callable[[jax.Array, Spec], Mapping[str, Shape]]
    measure: Callable[[jax.Array, Spec, State, int], tuple[jax.Array, State]]


def widened(weight: jax.Array, spec: Spec) -> jax.Array:
    """The weight in the dtype of the iteration, masked."""
    wide = weight.astype(spectral.iteration_dtype(weight.dtype))
    return wide if spec.mask is None else wide * spec.mask


def start(weight: jax.Array, spec: Spec, key: jax.Array, steps: int) -> State:
    """The vectors of a widened weight after `steps` power steps, from random unit vectors.

    One step at least: σ = uᵀWv of two random vectors may be negative or tiny.
    """
    divisor = DIVISORS[spec.divisor]
    shapes = sorted(divisor.shapes(weight, spec).items())
    keys = jax.random.split(key, max(len(shapes), 1))
    drawn = {name: jax.random.normal(key, shape, weight.dtype)
             for key, (name, shape) in zip(keys, shapes, strict=False)}
    state = {name: spectral.unit(x, x) for name, x in drawn.items()}
    return divisor.measure(lax.stop_gradient(weight), spec, state, max(steps, 1))[1]


def matrices(weight: jax.Array, spec: Spec) -> dict[str, jax.Array]:
    """{suffix of u and v: (blocks, rows, columns)}, whose σ, by their mean, are the divisor's."""
    found = {"": spectral.matricize(weight, spec.layout)}
    # Without a window the (inputs, rest) matrix is the transpose of the (outputs, rest) matrix.
    if spec.divisor == "bidirectional" and "s" in spec.layout:
        found["_in"] = spectral.matricize(weight, spec.layout, "i")
    return found


def _matrix_shapes(weight: jax.Array, spec: Spec) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for suffix, matrix in jax.eval_shape(lambda w: matrices(w, spec), weight).items():
        blocks, rows, columns = matrix.shape
        shapes |= {"u" + suffix: (blocks * rows,), "v" + suffix: (blocks * columns,)}
    return shapes


def _matrix_measure(weight: jax.Array, spec: Spec, state: State, steps: int
                    ) -> tuple[jax.Array, State]:
    sigmas, new = [], {}
    iterate = spectral.compiled_power_iteration if steps > 1 else spectral.power_iteration
    for suffix, matrix in matrices(weight, spec).items():
        u, v = state["u" + suffix], state["v" + suffix]
        if len(matrix) == 1:
            sigma, u, v = iterate(matrix[0], u, v, steps)
        else:
            # Each block has vectors of its own: all converge, even where several σ are close.
            blocks = matrix, u.reshape(len(matrix), -1), v.reshape(len(matrix), -1)
            sigma, u, v = jax.vmap(functools.partial(iterate, steps=steps))(*blocks)
        sigmas.append(jnp.max(sigma))
        new |= {"u" + suffix: u.reshape(-1), "v" + suffix: v.reshape(-1)}
    return sum(sigmas) / len(sigmas), new


def _operator_shapes(weight: jax.Array, spec: Spec) -> Mapping[str, Shape]:
    if spec.operator is None:
        return _matrix_shapes(weight, spec)
    linear, shape = spec.operator
    image = jax.ShapeDtypeStruct(shape, weight.dtype)
    output = jax.eval_shape(lambda weight, image: linear(weight)(image), weight, image)
    return {"u_operator": output.shape, "v_operator": shape}


def _operator_measure(weight: jax.Array, spec: Spec, state: State, steps: int
                      ) -> tuple[jax.Array, State]:
    if spec.operator is None:
        return _matrix_measure(weight, spec, state, steps)
    linear, shape = spec.operator
    apply = linear(weight)
    transpose = jax.linear_transpose(linear(lax.stop_gradient(weight)),
                                     jax.ShapeDtypeStruct(shape, weight.dtype))
    sigma, u, v = spectral.power_iteration(
        LinearMap(apply, lambda y: transpose(y)[0]), state["u_operator"], state["v_operator"], steps
    )
    return sigma, {"u_operator": u, "v_operator": v}


def _row_lengths(weight: jax.Array, spec: Spec) -> jax.Array:
    axes = tuple(axis for axis, letter in enumerate(spec.layout) if letter not in "bo")
    return spectral.length(weight, axes)


def _by_svd(weight: jax.Array, spec: Spec) -> jax.Array:
    matrix = spectral.matricize(weight, spec.layout)
    u, _, vt = jnp.linalg.svd(lax.stop_gradient(matrix), full_matrices=False)
    # As after a power iteration: u and v held constant, so that dσ/dW = u vᵀ.
    sigma = jnp.einsum("br,brc,bc->b", u[:, :, 0], matrix, vt[:, 0],
                       precision=lax.Precision.HIGHEST)
    return jnp.max(sigma)


def _stateless(norm: Callable[[jax.Array, Any], jax.Array]) -> Divisor:
    return Divisor(lambda weight, spec: {},
                   lambda weight, spec, state, steps: (norm(weight, spec), {}))


_MATRIX = Divisor(_matrix_shapes, _matrix_measure)
DIVISORS = {
    # σ of the (outputs, rest) matrix: the paper's.
    "spectral": _MATRIX,
    # The norm of the convolution itself (Farnia, Zhang, Tse, "Generalizable Adversarial Training
    # via Spectral Normalization", ICLR 2019); without a window the two are the same.
    "operator": Divisor(_operator_shapes, _operator_measure),
    # The mean of σ of the (outputs, rest) and the (inputs, rest) matrix (Lin, Sekar, Fanti, "Why
    # Spectral Normalization Stabilizes GANs", NeurIPS 2021).
    "bidirectional": _MATRIX,
    # Each row's length (Salimans, Kingma, "Weight Normalization", NeurIPS 2016; paper, section 4).
    "weight": _stateless(_row_lengths),
    # The paper's Appendix E.
    "frobenius": _stateless(lambda weight, spec: spectral.length(weight)),
    # What 'spectral' estimates, exactly, in every forward pass.
    "svd": _stateless(_by_svd),
}
# Those that keep no vectors, so that no power step is taken.
STATELESS = ("weight", "frobenius", "svd")
