"""Sphinx builds the site from the pages of this folder and the docstrings of the code.

    pip install -e ".[docs]"
    python -m sphinx -W --keep-going -b html docs docs/_build/html

Nothing is loaded from another host: mathematics (MathJax), search and fonts are files of the site.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import sngan_jax

project = "sngan_jax"
release = version = sngan_jax.__version__
copyright = "the authors of sngan_jax, Apache-2.0"
html_title = f"sngan_jax {release}"
html_theme = "furo"
html_static_path = ["images"]
html_copy_source = False

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
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

# Docstrings are plain text in which one backtick quotes code.
default_role = "literal"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
autosummary_ignore_module_all = True
