"""Text written by a model or found in data, made fit for one line of a file or a plot."""

import os
import unicodedata
from collections.abc import Iterable

from callbacks.files import atomic_path

# Control characters, line and paragraph separators, and halves of a surrogate pair (which JSON can hold)
INVISIBLE = {"Cc", "Zl", "Zp", "Cs"}


def one_line(text: str) -> str:
    """`text` with a space for each line break, all those of `str.splitlines` (some readers split at `\\r` too)."""
    return " ".join(text.splitlines())


def visible(text: str) -> str:
    """`text` with control characters and line breaks as escapes, such as `\\n` and `\\x1b`."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in INVISIBLE else character
        for character in text
    )


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    """Write a whole UTF-8 file or none, each line ended by `\\n`; `?` stands for what UTF-8 cannot hold.

    Args:
        path: The file; missing parent folders are made.
        lines: Without line breaks.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
