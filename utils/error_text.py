"""What is worth repeating of the text of an error that a library has raised."""

from __future__ import annotations


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error's first line, up to 200 characters; empty if it has no text."""
    return next(iter(str(error).splitlines()), "").partition(". ")[0][:200]
