"""Which test files of a group must run after a change, from what they import and name.

    python .ci/groups.py slow

Prints the files, one line, and on standard error what is left out and why; nothing where the whole
group can be left out. What changed is the difference between the working tree and the merge base
with the main branch. A test file needs the modules that it imports, those that these import, and
the modules and files that a test, or a program as a whole string, names. Everything runs where that
is unknown (no merge base, or it is HEAD; a changed file that no test is known to need), where the
environment changed, and with CI_ALL=1.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A group is the tests with a mark; `default` is the tests with none of them.
MARKS = ("slow", "peers", "gpu_compile")
PACKAGES = ("sngan_jax", "experiments", "tests", "docs")
MODULE = re.compile(rf"\b(?:{'|'.join(PACKAGES)})(?:(?:\.\w+)+\.?|\.$)")
# The environment, and what every test runs with.
OF_ALL = ("setup.cfg", "pyproject.toml", ".ci/", "tests/conftest.py", "tests/__init__.py",
          "tests/shapes.py")


def names(source: str, *, whole: bool, package: str = "") -> tuple[set[str], set[str]]:
    """(dotted names that a Python text imports or writes in strings, paths in its strings).

    whole: count only strings that are a name and nothing else, as messages name programs too.
    package: that relative imports begin at.
    """
    dotted, paths, inside = set(), set(), set()
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Import):
            dotted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[:package.count(".") + 2 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            dotted |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and node not in inside:
            parts = []
            while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                inside.add(node)
                inside.add(node.right)
                parts.insert(0, node.right.value if isinstance(node.right, ast.Constant)
                             and isinstance(node.right.value, str) else None)
                node = node.left
            # A / "docs" / name is some file of docs.
            known = parts[:parts.index(None)] if None in parts else parts
            paths |= {"/".join(known)} if known else set()
    documented = {id(node.body[0].value) for node in nodes
                  if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
                  and node.body and isinstance(node.body[0], ast.Expr)}
    for node in nodes:
        if (not isinstance(node, ast.Constant) or not isinstance(node.value, str)
                or node in inside or id(node) in documented):
            continue
        found = set(re.findall(MODULE, node.value))
        if not whole:
            dotted |= found
            paths |= {word for word in re.findall(r"[\w.*/-]+", node.value)
                      if "/" in word or "." in word or word == node.value}
        elif found == {node.value}:
            dotted |= found
        else:
            paths |= {node.value} if "/" in node.value else set()
    return dotted, paths


class Tree:
    """The files of a checkout.

    files: {path: text, or None where it is no Python}.
    """

    def __init__(self, files: dict[str, str | None]) -> None:
        self.files = files
        self.modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
                        for path in files if path.endswith(".py")}
        # The programs have two names.
        self.modules |= {f"sngan_jax.{name}": path for name, path in self.modules.items()
                         if name.partition(".")[0] == "experiments"}
        self.folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
        self.tests = sorted(path for path in files if re.search(r"(^|/)test_\w+\.py$", path))

    @functools.cached_property
    def needs(self) -> dict[str, set[str]]:
        """{Python file: the files that it needs directly}; a folder stands for all below it."""
        return {path: self._direct(path) for path, text in self.files.items() if text is not None}

    def _direct(self, path: str) -> set[str]:
        text = self.files[path] or ""
        dotted, paths = names(text, whole=not path.startswith(("tests/", "docs/")),
                              package=str(Path(path).parent).replace("/", "."))
        found = {"tests/conftest.py"} if "finished_run" in text else set()
        for name in dotted:
            if name.endswith("."):  # f"experiments.{name}"
                found.add(name.rstrip(".").replace(".", "/"))
            parts = name.rstrip(".").split(".")
            for length in range(len(parts), 0, -1):
                if module := self.modules.get(".".join(parts[:length])):
                    found.add(module)
                    break
            # A module's packages are imported before it.
            found |= {self.modules[package] for length in range(1, len(parts))
                      if (package := ".".join(parts[:length])) in self.modules}
        for name in paths:
            for place in (name.strip("./"), str(Path(path).parent / name)):
                if place in self.files or (place in self.folders and place != "tests"):
                    found.add(place)
            if re.fullmatch(r"\*\.\w+", name):  # of the root
                found |= {file for file in self.files
                          if "/" not in file and file.endswith(name[1:])}
        return found - {path}

    def reach(self, path: str) -> set[str]:
        """All files that a Python file needs, itself among them."""
        found, left = set(), [path]
        while left:
            if (one := left.pop()) in found:
                continue
            found.add(one)
            if one in self.folders:
                left += [file for file in self.files if file.startswith(one + "/")]
            left += self.needs.get(one, ())
        return found

    def of_group(self, group: str) -> list[str]:
        """The test files that have tests of a group."""
        marked = {path: set(re.findall(r"pytest\.mark\.(\w+)", self.files[path] or ""))
                  for path in self.tests}
        whole = {path: set(re.findall(r"^pytestmark = pytest\.mark\.(\w+)", self.files[path] or "",
                                      re.MULTILINE)) for path in self.tests}
        if group == "default":
            return [path for path in self.tests if not whole[path] & set(MARKS)]
        return [path for path in self.tests if group in marked[path]]


def chosen(group: str, changed: list[str] | None, tree: Tree) -> tuple[list[str], str]:
    """(test files of the group to run, why these); changed: None where it is not known."""
    files = tree.of_group(group)
    if changed is None:
        return files, "everything runs"
    reached = {path: tree.reach(path) for path in tree.tests}
    for path in changed:
        if path.startswith(OF_ALL):
            return files, f"everything runs: {path} changed"
        if not any(path in needed for needed in reached.values()):
            return files, f"everything runs: no test is known to need {path}"
    run = [path for path in files if reached[path] & set(changed)]
    left = [path for path in files if path not in run]
    why = f"left out, as they need none of {', '.join(changed)}: {', '.join(left)}"
    return run, why if left else "all of it needs what changed"


def changed_files() -> tuple[list[str] | None, str]:
    """(what changed since the merge base, or None where that is unknown; words on it)."""
    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    if os.environ.get("CI_ALL") == "1":
        return None, "CI_ALL=1"
    head = git("rev-parse", "HEAD")
    for branch in ("origin/main", "main"):
        base = git("merge-base", "HEAD", branch)
        if base is None:
            continue
        if base == head:
            return None, f"HEAD is in {branch}: there is no change to go by"
        changed = git("diff", "--name-only", base)
        new = git("ls-files", "--others", "--exclude-standard")
        if changed is None or new is None:
            return None, "git cannot say what changed"
        return [*changed.split("\n")] * bool(changed) + [*new.split("\n")] * bool(new), (
            f"changed since {base[:7]}, the merge base with {branch}")
    return None, "there is no main branch to compare with"


def read_tree() -> Tree:
    """The checkout's files, without those that git ignores."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "--cached", "--others",
                             "--exclude-standard"], capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.split("\n") if (ROOT / path).is_file()]
    return Tree({path: (ROOT / path).read_text() if path.endswith(".py") else None
                 for path in paths})


def main() -> None:
    """Prints the test files of the group that is named."""
    (group,) = sys.argv[1:]
    tree = read_tree()
    changed, words = changed_files()
    files, why = chosen(group, changed, tree)
    print(f"{group}: {len(files)} of {len(tree.of_group(group))} test files; {words}; {why}",
          file=sys.stderr)
    print(*files)


if __name__ == "__main__":
    main()
