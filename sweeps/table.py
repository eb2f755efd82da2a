"""Tables of text for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, the columns as wide as they must be."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def number(value: float) -> str:
    """Return a number with four significant digits, whole ones in full."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"
