"""What is worth repeating of the text of an error that a library has raised."""

from __future__ import annotations

import re

NO_MEMORY = re.compile(r"Cannot allocate memory|can't allocate memory|not enough memory|out of memory")
"""What torch says without memory, in a RuntimeError."""


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error's first line, up to 200 characters; empty if it has no text."""
    return next(iter(str(error).splitlines()), "").partition(". ")[0][:200]
