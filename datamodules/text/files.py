"""Text files, plain or gzipped, read whole; what is wrong with one is said with its name and the line."""

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
    r"""The lines of a text file, split at "\n" alone and without line ends; a last "\n" begins no further line.

    Args:
        path: Plain text or gzip, told apart by content; UTF-8, with or without a byte order mark.
        argument: What the user set to `path`, for the errors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, no UTF-8 (the line is named), or a damaged gzip.
    """
    raw = read_bytes(path, argument).split(b"\n")
    if not raw[-1]:
        raw.pop()
    return [_decoded(line, number, path, argument) for number, line in enumerate(raw, start=1)]


def read_text(path: str, argument: str) -> str:
    r"""The whole of a text file, "\n" alone at the ends of its lines; arguments and errors as `read_lines`."""
    raw = read_bytes(path, argument).split(b"\n")
    return "\n".join(_decoded(line, number, path, argument) for number, line in enumerate(raw, start=1))


def read_bytes(path: str, argument: str) -> bytes:
    """The content of a file, a gzip unpacked, without a UTF-8 byte order mark; errors as `read_lines`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{argument}: there is no file {path}")
    content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{argument}: {path} is a damaged gzip ({error}): fetch or write it again") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content:
        raise ValueError(f"{argument}: {path} is empty: it must hold text")
    return content


def _decoded(line: bytes, number: int, path: str, argument: str) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{argument}: {path}, line {number}: no valid UTF-8 (byte {error.start + 1} of the line is "
            f"0x{line[error.start]:02x}): save the file as UTF-8"
        ) from error


def read_table(path: str, fields: tuple[str, ...], argument: str) -> Iterator[tuple[int, list[object]]]:
    """The values of some fields in each row of a .tsv, .csv (both with a header) or .jsonl file, plain or .gz.

    Args:
        path: The file; its name ends in one of `READERS`, with or without .gz.
        fields: Which columns of the header, or keys of the objects.
        argument: What the user set to `path`, for the errors.

    Yields:
        (number of the line where the row ends, the values in the order of `fields`).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another format, empty, no UTF-8, or a row is malformed or lacks a field.
    """
    suffix = Path(path.removesuffix(".gz")).suffix
    if suffix not in READERS:
        raise ValueError(f"{argument}: {path} must be named {', '.join(READERS)}, or that and .gz")
    lines = read_lines(path, argument)
    rows = READERS[suffix](lines, path, argument)
    for number, row in rows:
        for field in fields:
            if field not in row:
                there = ", ".join(map(repr, row))
                raise ValueError(f"{argument}: {path}, line {number}: no field {field!r}; there are {there}")
        yield number, [row[field] for field in fields]


def _json_rows(lines: list[str], path: str, argument: str) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # nested too deeply
            raise ValueError(f"{argument}: {path}, line {number}: no valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{argument}: {path}, line {number}: a {type(row).__name__}, not an object with fields")
        yield number, row


def _csv_rows(lines: list[str], path: str, argument: str) -> Iterator[tuple[int, dict[str, object]]]:
    csv.field_size_limit(sys.maxsize)  # a document in a cell; the limit is the process's, 131,072 unless set
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
    """A line a row, a tab a border: quotes mean nothing in a .tsv, they are text."""
    header = lines[0].split("\t")
    for number, line in enumerate(lines[1:], start=2):
        if line:
            yield number, _row(header, line.split("\t"), number, path, argument)


def _row(header: list[str], cells: list[str], number: int, path: str, argument: str) -> dict[str, object]:
    if len(cells) != len(header):
        what = "more" if len(cells) > len(header) else "fewer"
        raise ValueError(f"{argument}: {path}, line {number}: {what} cells than the header names")
    return dict(zip(header, cells, strict=True))


READERS = {".tsv": _tsv_rows, ".csv": _csv_rows, ".jsonl": _json_rows}
