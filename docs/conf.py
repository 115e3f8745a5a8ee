"""Sphinx configuration: pages of this folder, docstrings, notebooks and results become a site.

    pip install -e ".[docs]"
    python -m sphinx -W --keep-going -b html docs docs/_build/html

The site loads nothing from another host: mathematics (MathJax), search and fonts are its own files.
"""

import dataclasses
import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import docstrings  # noqa: E402
import flax.linen as nn  # noqa: E402
import site_pages  # noqa: E402

import sngan_jax  # noqa: E402
from sngan_jax import layers  # noqa: E402

site_pages.write()

project = "sngan_jax"
release = version = sngan_jax.__version__
copyright = "the authors of sngan_jax, Apache-2.0"
html_title = f"sngan_jax {release}"
html_theme = "furo"
pygments_dark_style = "github-dark"  # Furo's own underlines modules as if they were links
html_favicon = "images/favicon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

extensions = [
    "myst_nb",
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
# Notebooks are shown as they were run and stored.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# Each name is documented where it is defined, once.
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_inherit_docstrings = False
add_module_names = False
# A longer signature has one argument per line.
maximum_signature_line_length = 80
highlight_language = "none"
smartquotes_action = "qe"  # because two dashes begin a flag


def _page(app, docname, source):
    """A page of this folder, with the links of the site."""
    if app.env.doc2path(docname).suffix == ".md":
        source[0] = site_pages.with_site_links(source[0], "docs")


def _included(app, path, parent, text):
    """A file of the repository that a page includes, with the links of the site."""
    text[0] = site_pages.with_site_links(text[0], (Path("docs") / path).parent)


def _docstring(app, what, name, obj, options, lines):
    text = docstrings.to_rst("\n".join(lines))
    if text.startswith("Alias for field number"):  # what Python writes for a NamedTuple
        text = ""
    lines[:] = re.sub(r"(?<![`\w])docs/(\w+)\.md", _reference, text).splitlines()


def _reference(match):
    page = Path(__file__).parent / f"{match[1]}.md"
    return f":doc:`/{match[1]}`" if page.exists() else match[0]


def _skipped(app, what, name, obj, skip, options):
    """Whether a member is left out: those that JAX and Flax add to a layer's class are."""
    theirs = (getattr(obj, "__module__", None) or "").startswith(("jax", "flax"))
    return True if theirs else None


def _signature(app, what, name, obj, options, signature, returns):
    """The signature to show: arrays by their short name; of a layer, its own fields alone."""
    if what != "class":  # `Float[jaxlib._jax.Array, 'n']`, from another module in each jaxlib
        return [text and re.sub(r"[\w.]+\.Array\b", "Array", text)
                for text in (signature, returns)]
    if not issubclass(obj, nn.Module):  # defaults of a NamedTuple, by their names
        short = re.sub(r"<class '(?:\w+\.)*(\w+)'>|<function [^>]*<lambda>>",
                       lambda found: found[1] or "...", signature or "")
        return short or None, returns
    fields = {field.name: field for field in dataclasses.fields(obj)
              if field.init and field.name not in ("parent", "name")}
    if issubclass(obj, layers.Normalized):  # the plain layer's arguments, and the options
        shown = [f"{option}={fields[option].default!r}" for option in layers.OPTIONS]
        return f"(*args, {', '.join(shown)}, **kwargs)", None
    return f"({', '.join(map(_argument, fields.values()))})", None


def _argument(field):
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return field.name
    if isinstance(field.default, (bool, int, float, str, tuple, type(None))):
        return f"{field.name}={field.default!r}"
    return f"{field.name}=..."


def setup(app):
    """Connects what changes pages, docstrings (`docstrings.to_rst`) and signatures."""
    app.connect("source-read", _page)
    app.connect("include-read", _included)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skipped)
