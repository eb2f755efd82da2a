"""Text files, plain or gzip, read whole; errors name the file and the line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path


def read_lines(path: str, argument: str) -> list[str]:
    r"""Return the lines of a text file without line ends.

    Lines are split at "\n" alone, a "\r" before it is removed, and a "\n" at the end of the file starts no other line.

    Args:
        path: A text file, UTF-8 with or without a byte order mark, plain or gzip (recognized by content).
        argument: The argument that the user set to `path`, for errors.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is empty, not UTF-8 or a damaged gzip file.
    """
    raw = read_bytes(path, argument).split(b"\n")
    if not raw[-1]:
        raw.pop()
    return [_decode(line, number, path, argument) for number, line in enumerate(raw, start=1)]


def read_text(path: str, argument: str) -> str:
    r"""Return the whole content of a text file with "\n" as line ends; arguments and errors as `read_lines`."""
    raw = read_bytes(path, argument).split(b"\n")
    return "\n".join(_decode(line, number, path, argument) for number, line in enumerate(raw, start=1))


def read_bytes(path: str, argument: str) -> bytes:
    """Return the content of a file, decompressed, without a byte order mark; arguments and errors as `read_lines`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{argument}: the file {path} does not exist")
    content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{argument}: {path} is a damaged gzip file ({error}): download or write it again"
            ) from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content:
        raise ValueError(f"{argument}: {path} is empty: it must contain text")
    return content


def _decode(line: bytes, number: int, path: str, argument: str) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{argument}: {path}, line {number}: not UTF-8 (byte {error.start + 1} of the line is "
            f"0x{line[error.start]:02x}): save the file as UTF-8"
        ) from error


def read_table(path: str, fields: tuple[str, ...], argument: str) -> Iterator[tuple[int, list[object]]]:
    """Yield the values of some fields of each row of a .tsv, .csv (both with a header) or .jsonl file, plain or gzip.

    Args:
        path: The file; its name ends in one of `READERS`, with or without .gz.
        fields: Names of columns, or keys of objects.
        argument: The argument that the user set to `path`, for errors.

    Yields:
        (number of the line where the row ends, the values in the order of `fields`).

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It has another format, is empty or not UTF-8, or a row is malformed or lacks a field.
    """
    suffix = Path(path.removesuffix(".gz")).suffix
    if suffix not in READERS:
        raise ValueError(f"{argument}: the name of {path} must end in {', '.join(READERS)}, or one of these and .gz")
    lines = read_lines(path, argument)
    rows = READERS[suffix](lines, path, argument)
    for number, row in rows:
        for field in fields:
            if field not in row:
                known = ", ".join(map(repr, row))
                raise ValueError(f"{argument}: {path}, line {number}: no field {field!r}; there are {known}")
        yield number, [row[field] for field in fields]


def _json_rows(lines: list[str], path: str, argument: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the line, object) for each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
            raise ValueError(f"{argument}: {path}, line {number}: not valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{argument}: {path}, line {number}: a {type(row).__name__}, not an object with fields")
        yield number, row


def _csv_rows(lines: list[str], path: str, argument: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the last line, cells by name) for each row that is not empty."""
    csv.field_size_limit(sys.maxsize)  # for a document in a cell; the default limit of a process is 131,072 characters
    reader = csv.reader(io.StringIO("\n".join(lines), newline=""), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            if not header:
                header = cells
            elif cells:
                yield reader.line_num, _row(header, cells, reader.line_num, path, argument)
    except csv.Error as error:
        raise ValueError(f"{argument}: {path}, line {reader.line_num}: malformed ({error})") from error


def _tsv_rows(lines: list[str], path: str, argument: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the line, cells by name) for each line that is not empty; quotes are text in a .tsv."""
    header = lines[0].split("\t")
    for number, line in enumerate(lines[1:], start=2):
        if line:
            yield number, _row(header, line.split("\t"), number, path, argument)


def _row(header: list[str], cells: list[str], number: int, path: str, argument: str) -> dict[str, object]:
    """Return the cells of a row by name."""
    if len(cells) != len(header):
        raise ValueError(
            f"{argument}: {path}, line {number}: {len(cells)} cells, but the header has {len(header)}: correct the row"
        )
    return dict(zip(header, cells, strict=True))


READERS = {".tsv": _tsv_rows, ".csv": _csv_rows, ".jsonl": _json_rows}
