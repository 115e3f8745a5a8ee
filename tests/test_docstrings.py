"""Every public name of the library says what it is, and which errors it raises."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {".".join(file.relative_to(ROOT / "sngan_jax").with_suffix("").parts): file
           for file in sorted((ROOT / "sngan_jax").rglob("*.py")) if file.stem != "__init__"}
PACKAGES = sorted((ROOT / "sngan_jax").rglob("__init__.py"))


def public(body, prefix=""):
    """(dotted name, node) of the public functions, classes and methods of a body."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_") and node.name != "__call__":
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{prefix}{node.name}.")


def raised(node, helpers, seen=()):
    """Names of the errors that leave a function, raised in itself or in a private helper."""
    if isinstance(node, ast.Raise) and node.exc is not None:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        name = ast.unparse(error).split(".")[-1]
        return {name} if name[0].isupper() else set()
    if isinstance(node, ast.Try):
        caught = " ".join(ast.unparse(h.type) if h.type else "Exception" for h in node.handlers)
        inside = set().union(*(raised(part, helpers, seen) for part in node.body))
        rest = [*node.handlers, *node.orelse, *node.finalbody]
        return ({name for name in inside if not re.search(rf"\b({name}|Exception)\b", caught)}
                .union(*(raised(part, helpers, seen) for part in rest)))
    found = set()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        helper = node.func.id
        if helper in helpers and helper not in seen:
            found = raised(helpers[helper], helpers, (*seen, helper))
    return found.union(*(raised(part, helpers, seen) for part in ast.iter_child_nodes(node)))


@functools.cache
def bases():
    """{class of the library: the names of its bases}."""
    return {node.name: [ast.unparse(base) for base in node.bases]
            for file in MODULES.values() for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.ClassDef)}


def kinds(error):
    """Names of an error and of its base classes in the library."""
    return {error}.union(*(kinds(base) for base in bases().get(error, ())))


def shortcomings(module, source):
    """Shortcomings of a module's docstrings, one sentence each."""
    tree = ast.parse(source)
    text = ast.get_docstring(tree) or ""
    if not text:
        yield f"{module}: no docstring"
    helpers = {node.name: node for node in tree.body
               if isinstance(node, ast.FunctionDef) and node.name.startswith("_")}
    nodes = dict(public(tree.body))
    for name, node in nodes.items():
        owner = nodes.get(name.rpartition(".")[0])
        above = (ast.get_docstring(owner) or "") if owner else ""
        own = ast.get_docstring(node) or ""
        # A module's call is what its class says.
        said = own + above if name.endswith("__call__") else own
        if not said:
            yield f"{module}.{name}: no docstring"
            continue
        if not isinstance(node, ast.ClassDef):
            for error in sorted(raised(node, helpers)):
                if not any(kind in said for kind in kinds(error) - {"Exception"}):
                    yield f"{module}.{name}: raises {error} and does not say so"


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module):
    assert list(shortcomings(module, MODULES[module].read_text())) == []


def test_the_packages_that_export_say_what_they_are():
    for file in PACKAGES:
        source = file.read_text()
        assert not source or ast.get_docstring(ast.parse(source)), file


@pytest.mark.parametrize("source, lacks", [
    ('"""M."""\ndef f(): pass', "no docstring"),
    ('"""M."""\nclass A:\n    """A."""\n    def f(self): pass', "A.f: no docstring"),
    ('"""M."""\ndef f():\n    """F."""\n    raise ValueError("x")', "raises ValueError"),
    ('"""M."""\ndef _g():\n    raise UserError("x")\ndef f():\n    """F."""\n    _g()',
     "raises UserError"),
])
def test_each_rule_finds_what_it_is_for(source, lacks):
    found = list(shortcomings("losses", source))
    assert any(lacks in sentence for sentence in found)


def test_a_good_docstring_passes():
    good = '"""M."""\ndef f(x: jax.Array):\n    """Sum of x (n,), eq. 3; ValueError: no n."""\n' \
           '    raise ValueError("x")'
    assert list(shortcomings("losses", good)) == []
