"""Pages of the site that are files elsewhere: results, notebooks and the GAN in one file.

Sphinx reads only one folder, so `write` copies them into docs/generated. `with_site_links` turns a
link to a file of the repository into one to its page or picture; another file is named by its path.
"""

import configparser
import json
import posixpath
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs" / "generated"
# [text](target) and ![text](target), but not in code.
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def pages() -> dict[str, str]:
    """{file or folder of the repository: its page, relative to docs}."""
    found = {"README.md": "index.md", "CHANGELOG.md": "changelog.md",
             "CONTRIBUTING.md": "contributing.md", "experiments/results": "results.md",
             "examples/minimal.py": "generated/minimal.md",
             "examples/minimal_nnx.py": "generated/minimal_nnx.md"}
    for path in sorted((ROOT / "experiments" / "results").rglob("*.md")):
        place = path.relative_to(ROOT / "experiments" / "results").with_suffix("")
        name = "_".join(part for part in place.parts if part != "README")
        found[path.relative_to(ROOT).as_posix()] = f"generated/results/{name}.md"
        if place.name == "README":
            found[path.parent.relative_to(ROOT).as_posix()] = f"generated/results/{name}.md"
    for path in sorted((ROOT / "sngan_jax" / "weights").glob("*.md")):
        found[path.relative_to(ROOT).as_posix()] = f"generated/weights/{path.name}"
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[path.relative_to(ROOT).as_posix()] = f"generated/notebooks/{path.name}"
    for path in (ROOT / "sngan_jax").rglob("*.py"):  # made by autosummary
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        found[path.relative_to(ROOT).as_posix()] = f"generated/{name.removesuffix('.__init__')}.rst"
    return found


def write() -> None:
    """Makes docs/generated anew, with the results and the notebooks; autosummary adds its pages."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    for source, page in pages().items():
        path, target = ROOT / source, ROOT / "docs" / page
        if GENERATED not in target.parents or path.is_dir() or target.suffix == ".rst":
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        if path.suffix == ".ipynb":
            text = notebook_page(text, path.relative_to(ROOT), repository())
        elif path.suffix == ".py":
            name = "A GAN in one file" + (", in NNX" if "nnx" in source else "")
            text = f"# {name}\n\nThe whole of `{source}`:\n\n```python\n{text}```\n"
        else:
            text = with_site_links(text, path.parent.relative_to(ROOT))
            if path.name == "report.md":  # all reports have one title
                text = re.sub("^# .*", f"# Report of {path.parent.name}", text)
        target.write_text(text)


def repository() -> str:
    """The address of the repository on GitHub: `url` of setup.cfg, or an empty string."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    url = config["metadata"].get("url", "").removesuffix(".git").rstrip("/")
    return url if url.startswith("https://github.com/") else ""


def notebook_page(text: str, path: Path, url: str) -> str:
    """A notebook with the links of the site, and one to Colab if the repository has an address.

    Args:
      path: path of the notebook, relative to the repository.
      url: result of `repository`.
    """
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = with_site_links("".join(cell["source"]), path.parent)
    if url:
        place = url.replace("https://github.com/", "https://colab.research.google.com/github/")
        link = (f"[Open in Colab]({place}/blob/HEAD/{path.as_posix()}). Run this there first: "
                f'`%pip install "sngan_jax[train] @ git+{url}"`')
        notebook["cells"].insert(1, {"cell_type": "markdown", "id": "colab", "metadata": {},
                                     "source": link})
    return json.dumps(notebook)


def with_site_links(text: str, folder: Path | str) -> str:
    """Markdown with the links of the site.

    Args:
      text: Markdown.
      folder: the folder of the file, relative to the repository, where its links start.
    """
    known = pages()
    places = set(re.findall(r'<a id="([^"]+)">', text))  # in a report; unknown to Sphinx

    def led(match: re.Match) -> str:
        picture, words, target = match.groups()
        path, hash_, fragment = target.partition("#")
        if not path and fragment in places:
            return f'<a href="{target}">{words}</a>'
        if not path or path.startswith("/") or ":" in path:
            return match[0]
        place = posixpath.normpath(posixpath.join(Path(folder).as_posix(), path))
        if picture or place.startswith("docs/") or place.endswith(".png"):
            page = posixpath.relpath(place, "docs")
        elif place in known:
            page = known[place]
        else:
            plain = words.strip("`")
            return f"`{place}`" if plain in (place, path) else f"{words} (`{place}`)"
        return f"{picture}[{words}](/{page}{hash_}{fragment})"

    fences = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(led, part) for part in fences)
