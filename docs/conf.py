"""The site's settings. ``nox -s docs`` builds it; the pages are plain Markdown, for code hosts too."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

import fullstory_async
from site_tools import docstrings, links, llms, reference

project = "fullstory_async"
author = "The fullstory_async authors"
copyright = author  # noqa: A001  (Sphinx's name)
version = release = fullstory_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["site_tools", "_build"]
nitpicky = False
default_role = "code"
highlight_language = "text"
smartquotes = False  # --option is not a dash
suppress_warnings = ["ref.python"]  # the same class under the name of its package and of its module

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = None

html_theme = "furo"
html_title = f"fullstory_async {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    """Add the pages that are made from the code, and what is made from the finished site."""
    app.connect("config-inited", lambda _app, _config: reference.write_pages(Path(__file__).parent))
    app.connect("source-read", links.to_pages)
    docstrings.setup(app)
    app.connect("build-finished", llms.write)
