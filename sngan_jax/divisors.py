"""What a weight can be divided by: functions of arrays, and their state.

`DIVISORS` maps a name to a `Divisor`, with its source (the paper's is 'spectral', equations 6 and
8; see `layers.normalized`): what the layers' argument `divisor=` chooses from. The state is a
dictionary of arrays that the layers keep in the collection 'spectral'.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from sngan_jax import operators, spectral
from sngan_jax.operators import Shape
from sngan_jax.spectral import Linear


class Weight(NamedTuple):
    """A layer's weight, and what the norms need to know of the layer.

    value: float32 or float64 array, the layer's mask applied.
    layout: one letter for each axis, see `spectral.matricize`.
    operator: where the layer is a convolution, (linear, input_shape): the function weight → the
      linear function of one image (no batch axis, no bias) that the layer then is, and that
      image's shape; else None.
    """

    value: jax.Array
    layout: str
    operator: tuple[Callable[[jax.Array], Linear], Shape] | None = None


# The vectors of a weight by their names.
State = dict[str, jax.Array]


class Divisor(NamedTuple):
    """A norm of weights that they can be divided by.

    shapes: Weight → {name of a vector: its shape}; the right vectors' names start with 'v'.
    measure: (Weight, state, steps) → (norm, state after `steps` power steps). The norm is a scalar,
      or an array that broadcasts against the weight; differentiable in the weight.
    exact: Weight → the norm after convergence.
    """

    shapes: Callable[[Weight], dict[str, Shape]]
    measure: Callable[[Weight, State, int], tuple[jax.Array, State]]
    exact: Callable[[Weight], jax.Array]

    def start(self, weight: Weight, key: jax.Array, steps: int) -> State:
        """The state after `steps` power steps from unit vectors drawn with `key`, of `shapes`."""
        shapes = self.shapes(weight)
        keys = jax.random.split(key, max(len(shapes), 1))
        state = {}
        for key, (name, shape) in zip(keys, sorted(shapes.items()), strict=False):
            drawn = jax.random.normal(key, shape, weight.value.dtype)
            state[name] = spectral.unit(drawn, drawn)
        if steps and state:
            constant = weight._replace(value=lax.stop_gradient(weight.value))
            state = self.measure(constant, state, steps)[1]
        return state


def _matrix_shapes(weight: Weight, rows: str = "o", suffix: str = "") -> dict[str, Shape]:
    matrix = jax.eval_shape(lambda w: spectral.matricize(w, weight.layout, rows), weight.value)
    *blocks, n_rows, n_columns = matrix.shape
    blocks = blocks[0] if blocks else 1
    return {"u" + suffix: (blocks * n_rows,), "v" + suffix: (blocks * n_columns,)}


def _matrix_measure(weight: Weight, state: State, steps: int, rows: str = "o", suffix: str = ""
                    ) -> tuple[jax.Array, State]:
    matrix = spectral.matricize(weight.value, weight.layout, rows)
    left, right = "u" + suffix, "v" + suffix
    sigma, u, v = spectral.block_power_iteration(matrix, state[left], state[right], steps)
    return sigma, {**state, left: u, right: v}


def _matrix_exact(weight: Weight, rows: str = "o") -> jax.Array:
    matrix = spectral.matricize(weight.value, weight.layout, rows)
    return jnp.max(jnp.linalg.svd(matrix, compute_uv=False))


# The largest singular value of the (outputs, rest) matrix: the paper's.
SPECTRAL = Divisor(_matrix_shapes, _matrix_measure, _matrix_exact)


def _by_svd(weight: Weight) -> jax.Array:
    matrix = spectral.matricize(weight.value, weight.layout)
    matrix = matrix if matrix.ndim == 3 else matrix[None]
    u, _, vt = jnp.linalg.svd(lax.stop_gradient(matrix), full_matrices=False)
    # σ = uᵀWv with u and v held constant, as of the power iteration, so that dσ/dW = u vᵀ.
    sigma = jnp.einsum("br,brc,bc->b", u[:, :, 0], matrix, vt[:, 0],
                       precision=lax.Precision.HIGHEST)
    return jnp.max(sigma)


def _two_reshapes(weight: Weight) -> bool:
    # Without a window the (inputs, rest) matrix is the transpose of the (outputs, rest) matrix.
    return "s" in weight.layout


def _bidirectional_shapes(weight: Weight) -> dict[str, Shape]:
    second = _matrix_shapes(weight, "i", "_in") if _two_reshapes(weight) else {}
    return {**_matrix_shapes(weight), **second}


def _bidirectional_measure(weight: Weight, state: State, steps: int) -> tuple[jax.Array, State]:
    first, state = _matrix_measure(weight, state, steps)
    if not _two_reshapes(weight):
        return first, state
    second, state = _matrix_measure(weight, state, steps, "i", "_in")
    return (first + second) / 2, state


def _bidirectional_exact(weight: Weight) -> jax.Array:
    first = _matrix_exact(weight)
    return (first + _matrix_exact(weight, "i")) / 2 if _two_reshapes(weight) else first


# The mean of σ of the (outputs, rest) and the (inputs, rest) matrix: Lin, Sekar, Fanti, "Why
# Spectral Normalization Stabilizes GANs", NeurIPS 2021 (arXiv 2009.02773).
BIDIRECTIONAL = Divisor(_bidirectional_shapes, _bidirectional_measure, _bidirectional_exact)


def _operator_shapes(weight: Weight) -> dict[str, Shape]:
    if weight.operator is None:
        return _matrix_shapes(weight)
    linear, input_shape = weight.operator
    image = jax.ShapeDtypeStruct(input_shape, weight.value.dtype)
    return {
        "u_operator": jax.eval_shape(linear(weight.value), image).shape,
        "v_operator": input_shape,
    }


def _operator_measure(weight: Weight, state: State, steps: int) -> tuple[jax.Array, State]:
    if weight.operator is None:
        return _matrix_measure(weight, state, steps)
    linear, input_shape = weight.operator
    constant = linear(lax.stop_gradient(weight.value))
    transpose = operators.transpose_of(constant, input_shape, weight.value.dtype)
    sigma, u, v = spectral.operator_power_iteration(
        linear(weight.value), constant, transpose, state["u_operator"], state["v_operator"], steps
    )
    return sigma, {**state, "u_operator": u, "v_operator": v}


def _operator_exact(weight: Weight) -> jax.Array:
    if weight.operator is None:
        return _matrix_exact(weight)
    # A dense matrix would be too large for a network's images: a long power iteration instead.
    linear, input_shape = weight.operator
    return operators.operator_norm(linear, weight.value, input_shape, steps=200)


# The operator norm of the convolution itself (Farnia, Zhang, Tse, ICLR 2019); of the matrix for
# layers without a window, where the two are the same.
OPERATOR = Divisor(_operator_shapes, _operator_measure, _operator_exact)


def _row_lengths(weight: Weight) -> jax.Array:
    axes = tuple(a for a, letter in enumerate(weight.layout) if letter not in "bo")
    return spectral.length(weight.value, axes)


def _frobenius(weight: Weight) -> jax.Array:
    return spectral.length(weight.value)


def _stateless(norm: Callable[[Weight], jax.Array]) -> Divisor:
    return Divisor(lambda weight: {}, lambda weight, state, steps: (norm(weight), state), norm)


# Each row's Euclidean norm (Salimans, Kingma, 2016): with γ fixed at one, the paper's weight
# normalisation (section 4); and the Frobenius norm (the paper's Appendix E, Table 7).
WEIGHT = _stateless(_row_lengths)
FROBENIUS = _stateless(_frobenius)
# What 'spectral' estimates, exactly, in every forward pass: what the iteration is compared with.
SVD = _stateless(_by_svd)

DIVISORS = {
    "spectral": SPECTRAL,
    "operator": OPERATOR,
    "bidirectional": BIDIRECTIONAL,
    "weight": WEIGHT,
    "frobenius": FROBENIUS,
    "svd": SVD,
}
# Those that keep no vectors, so that no power step is taken.
STATELESS = ("weight", "frobenius", "svd")
