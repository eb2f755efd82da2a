"""Configuration of Sphinx for the documentation: `make docs` builds it into `build/docs`."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]  # the program, and the generator of pages

from pages import linked, write_pages  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

project = "One for All"
author = "the authors of One for All"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["diagrams/README.md"]
suppress_warnings = ["myst.strikethrough"]

html_theme = "furo"
html_title = "One for All"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # what docstrings have in single backticks, as Markdown has it
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # torch's and Lightning's are theirs
autodoc_typehints = "none"  # what a field takes is in the configuration reference
napoleon_use_ivar = True

write_pages(DOCS / "_generated")


def link(_: Sphinx, name: str, source: list[str]) -> None:
    """Let links to files of the repository, as GitHub follows them, lead to their pages."""
    source[0] = linked(source[0], name)


def setup(app: Sphinx) -> None:
    """Have each page go through `link` when it is read."""
    app.connect("source-read", link)
