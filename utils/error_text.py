"""Excerpts of error messages to show to the user."""

from __future__ import annotations

import os
import re

from utils.files import NO_SPACE

NO_MEMORY = re.compile(r"Cannot allocate memory|can't allocate memory|not enough memory|out of memory")
"""What torch's RuntimeError says when there is no memory left."""


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error's first line, up to 200 characters; empty if it has no text."""
    return next(iter(str(error).splitlines()), "").partition(". ")[0][:200]


def text_of(error: BaseException) -> str:
    """Return the text of an error in one line, without the number of one that `naming_full_disk` has explained."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.errno in NO_SPACE:
        text = text if error.strerror == os.strerror(error.errno) else error.strerror
    return " ".join(text.split())


def first_few(problems: list[str], shown: int = 3) -> str:
    """Return the first problems, and how many more there are, as one line."""
    more = f"; and {len(problems) - shown} more" if len(problems) > shown else ""
    return "; ".join(problems[:shown]) + more
