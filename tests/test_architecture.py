"""Imports go one way: the table of docs/architecture.md is the rule, the imports the fact."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def rooms(page):
    """[(room, [dotted prefixes])] from the lowest to the highest, as the page's table has them."""
    table = re.search(r"^\| room \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE).group(1)
    found = []
    for row in table.splitlines():
        name, modules, _ = (cell.strip() for cell in row.strip("|").split("|"))
        found.append((name, [n if n in ("sngan_jax", "experiments") else f"sngan_jax.{n}"
                             for n in re.findall(r"`([\w.]+)`", modules)]))
    return found


def room_of(module, table):
    """The place of the room with the longest prefix of the module's name."""
    def fits(prefix):
        # The library's own name is its __init__.py only: a new module must be given a room.
        inside = prefix != "sngan_jax" and module.startswith(prefix + ".")
        return module == prefix or inside

    places = [(len(prefix), place) for place, (_, prefixes) in enumerate(table)
              for prefix in prefixes if fits(prefix)]
    assert places, f"{module} stands in no room: give it one in the table of {PAGE.name}"
    return max(places)[1]


@functools.cache
def imported(source):
    """[(module, name or None)] of every import in a source text, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found += [(node.module, alias.name) for alias in node.names]
    return [(module, name) for module, name in found
            if module.split(".")[0] in ("sngan_jax", "experiments")]


def imports(source, modules):
    """The modules of this project that a source text imports."""
    for module, name in imported(source):
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
        for below in sorted(set(imports(text, texts))):
            other = room_of(below, table)
            if other > own:
                yield (f"{module} (room {table[own][0]}) imports {below} "
                       f"(room {table[other][0]}), which is higher")


def test_no_lower_room_imports_a_higher_one():
    assert list(wrong_ways(sources(), rooms(PAGE.read_text()))) == []


def test_a_wrong_import_is_found():
    texts = dict(sources())
    texts["sngan_jax.models.cnn"] += "\ndef f():\n    import sngan_jax.train.loop\n"
    found = list(wrong_ways(texts, rooms(PAGE.read_text())))
    assert len(found) == 1 and re.search("room networks.*room run", found[0])


def test_a_module_without_a_room_is_found():
    texts = {**sources(), "sngan_jax.utils": ""}
    with pytest.raises(AssertionError, match=r"sngan_jax\.utils stands in no room"):
        list(wrong_ways(texts, rooms(PAGE.read_text())))


def test_no_module_imports_itself_over_others():
    """No cycles: modules can be read, and loaded, from the bottom upwards."""
    texts = sources()
    graph = {name: set(imports(text, texts)) - {name, "sngan_jax", "experiments"}
             for name, text in texts.items()}
    while leaves := [name for name, below in graph.items() if not below & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"these modules import each other in a circle: {sorted(graph)}"
