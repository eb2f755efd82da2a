"""Formatting of generated or dataset text for one line of a file, a plot or a table."""

import unicodedata
from collections.abc import Iterable, Sequence

from utils.file_names import readable

INVISIBLE = {"Cc", "Zl", "Zp", "Cs"}
"""Unicode categories: control characters, line and paragraph separators, and halves of surrogate pairs (in JSON)."""


def one_line(text: str) -> str:
    r"""Return `text` with a space for each line break that `str.splitlines` knows (some readers split at "\r" too)."""
    return " ".join(text.splitlines())


def visible(text: str) -> str:
    r"""Return `text` with control characters and line breaks as escapes, such as "\n" and "\x1b"."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in INVISIBLE else character
        for character in text
    )


def shorten(text: str, max_length: int) -> str:
    """Return `text` in at most `max_length` characters, with an ellipsis where it was truncated."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def class_name(names: Sequence[str] | None, index: int) -> str:
    """Return the name of class `index`, made `readable`, or the index itself if no name is known."""
    return readable(names[index]) if names is not None and 0 <= index < len(names) else str(index)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are Markdown already."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells of plain text, escaped so that it does not end them."""
    return markdown_table(header, [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows])


def folded(title: str, body: str) -> str:
    """Return Markdown that shows `title`, and `body` on a click."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
