"""Sphinx builds the site from the pages of this folder and the docstrings of the code.

    pip install -e ".[docs]"
    python -m sphinx -W --keep-going -b html docs docs/_build/html

Nothing is loaded from another host: mathematics (MathJax), search and fonts are files of the site.
"""

import dataclasses
import re
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import docstrings  # noqa: E402
import flax.linen as nn  # noqa: E402

import sngan_jax  # noqa: E402
from sngan_jax import layers  # noqa: E402

# The programs, beside which the tests lie, are no part of the library's pages.
del sngan_jax.__path__[1:]

# Pages of modules that are no more would be left over from an earlier build.
shutil.rmtree(Path(__file__).parent / "generated", ignore_errors=True)

project = "sngan_jax"
release = version = sngan_jax.__version__
copyright = "the authors of sngan_jax, Apache-2.0"
html_title = f"sngan_jax {release}"
html_theme = "furo"
html_favicon = "images/favicon.svg"
html_copy_source = False

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

# The pages are Markdown that GitHub shows as well: $…$ and $$…$$ are mathematics in both.
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
# Each name is documented where it is defined, once.
autodoc_default_options = {"members": True, "ignore-module-all": True}
add_module_names = False
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
highlight_language = "none"


def _elsewhere(match):
    text, path = match.groups()
    return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"


def _page(app, name, source):
    """A file outside of this folder is no page of the site: it is called by its path."""
    source[0] = re.sub(r"(?<!!)\[([^\]]*)\]\(\.\./([^)]+)\)", _elsewhere, source[0])


def _docstring(app, what, name, obj, options, lines):
    lines[:] = docstrings.to_rst("\n".join(lines)).splitlines()


def _signature(app, what, name, obj, options, signature, returns):
    """A layer's own fields, without those that Flax gives to every module."""
    if what != "class" or not issubclass(obj, nn.Module):
        return None
    own = [field for field in dataclasses.fields(obj) if field.name not in ("parent", "name")]
    fields = [f"{field.name}={field.default!r}" for field in own
              if isinstance(field.default, (bool, int, float, str, tuple, type(None)))]
    plain = getattr(obj, "plain_class", None)
    if plain:  # all of the plain layer's, and the options
        fields = [f"<{plain.__name__}'s own>"] + fields[-len(layers.OPTIONS):]
    return f"({', '.join(fields)})", None


def setup(app):
    """What is changed of pages, docstrings (`docstrings.to_rst`) and signatures."""
    app.connect("source-read", _page)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
