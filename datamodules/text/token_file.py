"""A table of token ids in a file that is memory-mapped: it is opened at once, and takes no memory until it is read.

The file holds the ids, the size of each row (int32) and a footer with their numbers and a checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datamodules.text.token_table import TokenTable

_MAGIC = 0x4F46_4154_4F4B_0002
_FOOTER = np.dtype([("tokens", "<u8"), ("rows", "<u8"), ("checksum", "<u8"), ("width", "<u8"), ("magic", "<u8")])
_BLOCK = 1 << 20
_DTYPES: dict[int, Any] = {2: np.dtype("<u2"), 4: np.dtype("<i4")}  # by the width of an id in bytes


def write_table(chunks: Iterable[TokenTable], file: BinaryIO, dtype: np.dtype) -> None:
    """Write the rows of all chunks as one table, holding one chunk at a time in memory.

    Args:
        chunks: Tables whose rows are stored one after the other.
        file: The file to write to.
        dtype: Dtype of the ids: uint16 or int32.
    """
    tokens, checksum, sizes = 0, 0, []
    for chunk in chunks:
        content = chunk.ids.astype(dtype).tobytes()
        file.write(content)
        tokens, checksum = tokens + len(chunk.ids), zlib.crc32(content, checksum)
        sizes.append(chunk.sizes)
    for content in chain([bytes(-tokens * dtype.itemsize % 4)], (each.astype("<i4").tobytes() for each in sizes)):
        file.write(content)
        checksum = zlib.crc32(content, checksum)
    rows = sum(map(len, sizes))
    file.write(np.array([(tokens, rows, checksum, dtype.itemsize, _MAGIC)], _FOOTER).tobytes())


def open_table(path: Path, rows: int) -> TokenTable:
    """Return the table in a file, its ids and sizes memory-mapped.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or has another number of rows.
    """
    size = path.stat().st_size - _FOOTER.itemsize
    with path.open("rb") as file:
        if size < 0:
            raise ValueError("it has no footer")
        file.seek(size)
        (footer,) = np.frombuffer(file.read(), _FOOTER)
        tokens, width = int(footer["tokens"]), int(footer["width"])
        first = -(-tokens * width // 4) * 4  # of the sizes
        if footer["magic"] != _MAGIC or width not in _DTYPES or first + 4 * int(footer["rows"]) != size:
            raise ValueError("its footer does not fit its size")
        if int(footer["rows"]) != rows:
            raise ValueError("its number of rows is not the number of texts")
        if _checksum(file, size) != footer["checksum"]:
            raise ValueError("its checksum is wrong")
    return TokenTable.stored(_mapped(path, _DTYPES[width], 0, tokens), _mapped(path, _DTYPES[4], first, rows))


def _mapped(path: Path, dtype: np.dtype, offset: int, count: int) -> np.ndarray:
    """Return numbers of a file, [count], memory-mapped."""
    if not count:  # an empty range cannot be mapped
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(path, dtype, "r", offset, (count,)))


def _checksum(file: BinaryIO, size: int) -> int:
    """Return the checksum of the first `size` bytes of a file."""
    file.seek(0)
    checksum = 0
    while size:
        block = file.read(min(size, _BLOCK))
        checksum, size = zlib.crc32(block, checksum), size - len(block)
    return checksum
