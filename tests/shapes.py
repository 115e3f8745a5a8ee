"""Checks the shapes in the library's signatures whenever a test calls a function."""

import inspect
import types
import typing
from pathlib import Path

import numpy as np
from jaxtyping import AbstractArray, install_import_hook

LIBRARY = Path(__file__).parents[1] / "sngan_jax"
MODULES = [".".join(file.relative_to(LIBRARY.parent).with_suffix("").parts)
           for file in sorted(LIBRARY.rglob("*.py"))
           if "from sngan_jax.base.shapes import" in file.read_text()]


def check_shapes():
    """Installs jaxtyping's import hook; call it before the library is imported."""
    install_import_hook(MODULES, "tests.shapes.checked_afterwards")


def checked_afterwards(function):
    """The hook's type checker, for arguments and result together, once a function has returned.

    The hook also has it check the arguments alone, before the call. A function's own sentences on
    wrong shapes must come first, so that is left out.
    """
    signature = inspect.signature(function)
    if signature.return_annotation is typing.Any:
        return function

    def checked(*args, **kwargs):
        result = function(*args, **kwargs)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            check(name, value, signature.parameters[name].annotation)
        check("the result", result, signature.return_annotation)
        return result

    return checked


def check(name, value, hint):
    """TypeError for an array whose shape or dtype is not that of the hint.

    The hint is an array, one of several kinds, or a tuple of these; hints without arrays pass.
    NumPy's arrays pass for JAX's, as in JAX's own functions.
    """
    form = typing.get_origin(hint)
    kinds = typing.get_args(hint) if form in (tuple, typing.Union, types.UnionType) else (hint,)
    arrays = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, AbstractArray)]
    if not arrays:
        assert "jaxtyping." not in str(hint), f"{name}: shapes in {hint} are not checked"
    elif form is tuple:
        for number, (part, kind) in enumerate(zip(value, kinds, strict=True)):
            check(f"{name}[{number}]", part, kind)
    else:
        if isinstance(value, np.ndarray):
            kinds = [kind.dtype[np.ndarray, kind.dim_str] if kind in arrays else kind
                     for kind in kinds]
        # The first kind that fits binds its axis names to lengths.
        if not any(isinstance(value, kind) for kind in kinds):
            raise TypeError(f"{name} is {value!r}, not {hint}")
