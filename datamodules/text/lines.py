"""Lines of a text file, which stay in the file and are read on each access."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar, overload

import numpy as np

from datamodules.text.files import BYTE_ORDER_MARK, GZIP, MAGIC, read_text
from datamodules.text.token_table import smallest

_BLOCK = 1 << 22  # number of bytes examined at once
_LINES = 4096  # number of lines decoded at once
_NEWLINE = ord("\n")

Item = TypeVar("Item", covariant=True)


class Stored(Sequence[Item]):
    """Base class of sequences whose items are not kept in memory, and are best read one after the other."""

    @abstractmethod
    def item(self, number: int) -> Item:
        """Return an item, numbered from 0."""

    @overload
    def __getitem__(self, number: int) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...
    def __getitem__(self, number: int | slice) -> Item | list[Item]:
        """Return an item, or several."""
        numbers = range(len(self))[number]
        return self.item(numbers) if isinstance(numbers, int) else list(map(self.item, numbers))


class Lines(Stored[str]):
    """The lines of a UTF-8 text, without line ends.

    Args:
        content: The text, or the file that holds it; every line ends with a line feed, except perhaps the last one.
        bounds: Where each line starts, in bytes, and where one after the last would, int64 or uint32 [lines + 1].

    Raises:
        OSError: The file has changed since this was built.
    """

    def __init__(self, content: bytes | Path, bounds: np.ndarray) -> None:
        self._content = content
        self._bounds = smallest(bounds)
        self._state = None if isinstance(content, bytes) else _state(content.stat())

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self._bounds) - 1

    def item(self, number: int) -> str:
        """Return a line."""
        return self._read(number, number + 1)

    def __iter__(self) -> Iterator[str]:
        """Yield the lines, some thousand of which are in memory."""
        for first in range(0, len(self), _LINES):
            yield from self._read(first, min(first + _LINES, len(self))).split("\n")

    def first_blank(self) -> int | None:
        """Return the number of the first line that is empty or has only white space; None if there is none."""
        return next((number for number, line in enumerate(self) if _is_blank(line)), None)

    def _read(self, first: int, last: int) -> str:
        """Return lines `first` to `last` - 1, with line ends between them."""
        start, end = (int(self._bounds[number]) for number in (first, last))
        if isinstance(self._content, bytes):
            return self._content[start : end - 1].decode()
        with self._content.open("rb") as file:
            if _state(os.fstat(file.fileno())) != self._state:
                raise OSError(f"{self._content} was changed while it was being read: start again")
            file.seek(start)
            return file.read(end - 1 - start).decode()


class FilledLines(Stored[str]):
    """The lines of a text that are not blank.

    Args:
        lines: All lines, which are read once for this.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        blank = np.fromiter((number for number, line in enumerate(lines) if _is_blank(line)), np.int64)
        self._before_blank = smallest(blank - np.arange(len(blank)))  # number of others before each blank line

    def __len__(self) -> int:
        """Return the number of lines that are not blank."""
        return len(self._lines) - len(self._before_blank)

    def item(self, number: int) -> str:
        """Return a line."""
        return self._lines[number + int(np.searchsorted(self._before_blank, number, side="right"))]

    def __iter__(self) -> Iterator[str]:
        """Yield the lines, some thousand of which are in memory."""
        return (line for line in self._lines if not _is_blank(line))


def open_lines(path: str, argument: str) -> Lines:
    """Return the lines of a text file, as `read_lines` does; they stay in the file if it is a plain one.

    A file that is compressed, has other line ends or is not a regular file is read whole.

    Args:
        path: A text file, as `read_lines` takes it.
        argument: The argument that the user set to `path`, for errors.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: As `read_lines`.
    """
    if Path(path).is_file():
        with Path(path).open("rb") as file:
            bounds = _bounds_in(file)
        if bounds is not None:
            return Lines(Path(path), bounds)
    text = read_text(path, argument).removesuffix("\n").encode()
    return Lines(text, np.concatenate([[0], _line_ends(text) + 1, [len(text) + 1]]))


def _bounds_in(file: BinaryIO) -> np.ndarray | None:
    """Return where the lines of a file start, and where one after the last would; None if it is not plain text."""
    start = file.read(64)
    if not start or start.startswith((*MAGIC, GZIP)):
        return None
    offset = len(BYTE_ORDER_MARK) if start.startswith(BYTE_ORDER_MARK) else 0
    file.seek(offset)
    bounds, rest = [smallest(np.array([offset]))], b""
    while block := file.read(_BLOCK):
        whole, newline, after = (rest + block).rpartition(b"\n")
        content, rest = whole + newline, after
        if not _is_plain(content):
            return None
        bounds.append(smallest(_line_ends(content) + offset + 1))
        offset += len(content)
    if not _is_plain(rest):
        return None
    if rest:
        bounds.append(smallest(np.array([offset + len(rest) + 1])))
    return np.concatenate(bounds) if len(bounds) > 1 else None


def _line_ends(content: bytes) -> np.ndarray:
    return np.flatnonzero(np.frombuffer(content, np.uint8) == _NEWLINE)


def _is_plain(content: bytes) -> bool:
    """Return whether bytes are UTF-8 without NUL characters and carriage returns."""
    if b"\0" in content or b"\r" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
