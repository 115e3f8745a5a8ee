"""Imports go one way: the table of docs/architecture.md is the rule, the imports the fact."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def rooms(page):
    """[(room, [files and folders])], the lowest first, as in the page's table."""
    table = re.search(r"^\| room \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE).group(1)
    found = []
    for row in table.splitlines():
        name, where, _ = (cell.strip() for cell in row.strip("|").split("|"))
        found.append((name, re.findall(r"`(\w+)`", where)))
    return found


def room_of(module, table):
    """Index of a module's room, found by its folder or file."""
    package, _, inside = module.partition(".")
    own = inside.split(".")[0] if package == "sngan_jax" and inside else package
    places = [place for place, (_, names) in enumerate(table) if own in names]
    assert len(places) == 1, f"{module} stands in no room: give it one in the table of {PAGE.name}"
    return places[0]


@functools.cache
def imported(module, source):
    """[(module, name or None)] of every import of a module, inside functions too.

    The programs import each other relatively, because their package has two names; the library does
    not.
    """
    found = []
    folder = module if f"{module}.__init__" in packages() else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = module.startswith("experiments")
            ours = (node.module or "").partition(".")[0] == "experiments"
            assert not (ours if inside else node.level), f"{module}: relative here, absolute there"
            above = folder.split(".")[:len(folder.split(".")) - node.level + 1]
            whole = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            found += [(whole, alias.name) for alias in node.names]
    return [(module, name) for module, name in found
            if module.split(".")[0] in ("sngan_jax", "experiments")]


@functools.cache
def packages():
    """{dotted name of an __init__.py}."""
    return {".".join(file.relative_to(ROOT).with_suffix("").parts)
            for package in ("sngan_jax", "experiments")
            for file in (ROOT / package).rglob("__init__.py")}


def imports(own, source, modules):
    """The modules of this project that a module imports."""
    for module, name in imported(own, source):
        yield f"{module}.{name}" if f"{module}.{name}" in modules else module


@functools.cache
def sources():
    """{dotted name: source text} of the library and the programs."""
    found = {}
    for package in ("sngan_jax", "experiments"):
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return found


def wrong_ways(texts, table):
    """Sentences about imports from a lower room into a higher one."""
    for module, text in sorted(texts.items()):
        own = room_of(module, table)
        for below in sorted(set(imports(module, text, texts))):
            other = room_of(below, table)
            if other > own:
                yield (f"{module} (room {table[own][0]}) imports {below} "
                       f"(room {table[other][0]}), which is higher")


def test_no_lower_room_imports_a_higher_one():
    assert list(wrong_ways(sources(), rooms(PAGE.read_text()))) == []


def test_a_wrong_import_is_found():
    texts = dict(sources())
    texts["sngan_jax.models.cnn"] += "\ndef f():\n    import sngan_jax.run.loop\n"
    found = list(wrong_ways(texts, rooms(PAGE.read_text())))
    assert len(found) == 1 and re.search("room models.*room run", found[0])


def test_a_module_without_a_room_is_found():
    texts = {**sources(), "sngan_jax.utils": ""}
    with pytest.raises(AssertionError, match=r"sngan_jax\.utils stands in no room"):
        list(wrong_ways(texts, rooms(PAGE.read_text())))


def test_no_module_imports_itself_over_others():
    """Imports have no cycles, so modules can be read and loaded from the bottom up."""
    texts = sources()
    graph = {name: set(imports(name, text, texts)) - {name, "sngan_jax", "experiments"}
             for name, text in texts.items()}
    while leaves := [name for name, below in graph.items() if not below & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"these modules import each other in a circle: {sorted(graph)}"
