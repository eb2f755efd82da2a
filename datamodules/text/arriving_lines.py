"""Lines of a stream, such as a pipe, as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from datamodules.text.files import BYTE_ORDER_MARK, decode, with_plain_line_ends

_AT_ONCE = 1 << 16  # bytes


def arriving_lines(read: Callable[[int], bytes], place: str) -> Iterator[list[str]]:
    r"""Yield the lines of a stream, without line ends: all that are there, as soon as there is one.

    A program that writes a line and waits for the answer gets it, and a long file is read in large parts. What counts
    as a line, and what is refused, is as in `datamodules.text.files.read_lines`, but an empty stream has no lines.

    Args:
        read: Returns at most the given number of bytes of the stream, waiting for at least one; none at its end.
        place: Where they come from, for errors.

    Raises:
        ValueError: The stream is not UTF-8 or no text, or has a "\r" amid lines that end with "\n".
    """
    parts: list[bytes] = []  # of a line that has not ended
    first, begun = 1, False
    while block := read(_AT_ONCE):
        whole, newline, after = block.rpartition(b"\n")
        if not newline:
            parts.append(block)
            continue
        content = b"".join([*parts, whole, newline])
        lines = _lines(content if begun else content.removeprefix(BYTE_ORDER_MARK), place, first)
        parts, first, begun = [after], first + len(lines), True
        yield lines
    rest = b"".join(parts)
    if rest and not begun:
        rest = rest.removeprefix(BYTE_ORDER_MARK)
    elif rest:
        rest += b"\n"  # so that a carriage return in it does not end a line
    if rest:
        yield _lines(rest, place, first)


def _lines(content: bytes, place: str, first: int) -> list[str]:
    if b"\r" in content:
        content = with_plain_line_ends(content, place, first)
    return decode(content, place, first).removesuffix("\n").split("\n")
