"""Array types with the shape in the signature: `Float[Array, "n d"]` is a float array (n, d).

The shapes are jaxtyping's. A name is an axis's length, the same in the whole signature, and `_` any
length. `*shape` is any number of axes, `...` any number without a name. `#n` and `*#shape` are
lengths that broadcast. `{side}` is the value of an argument. The test run checks them
(tests/shapes.py). A program that uses the library does not need jaxtyping: without it, and for a
type checker, the type is the array's, annotated with a text.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Annotated as Float
    from typing import Annotated as Integer
    from typing import Annotated as Shaped
    from typing import Annotated as UInt8
else:
    try:
        from jaxtyping import Float, Integer, Shaped, UInt8
    except Exception:  # not installed, or not of this JAX: it is needed for nothing else
        from typing import Annotated

        Float = Integer = Shaped = UInt8 = Annotated

__all__ = ["Float", "Integer", "Shaped", "UInt8"]
