"""Tables of texts: .tsv and .csv with a header, and .jsonl, read whole; errors name the file and the line."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from datamodules.text.files import decode, read_bytes, read_lines

Row = dict[str, object]
"""The values of a row by column, or of an object by key."""


class MissingFieldError(ValueError):
    """A row lacks a field; the message names the file, the line and the fields that there are."""


def table_suffix(path: str) -> str:
    """Return the ending of a file's name in lower case, .gz left out: ".csv" of "Texts.CSV.gz"."""
    return Path(path.lower().removesuffix(".gz")).suffix


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
    suffix = table_suffix(path)
    if suffix not in READERS:
        raise ValueError(f"{argument}: the name of {path} must end in {', '.join(READERS)}, or one of these and .gz")
    for number, row in READERS[suffix](path, argument):
        for field in fields:
            if field not in row:
                known = ", ".join(map(repr, row))
                raise MissingFieldError(f"{argument}: {path}, line {number}: no field {field!r}; it has {known}")
        yield number, [row[field] for field in fields]


def check_text(value: object, place: str) -> str:
    """Return a field's value if it is text; raise a ValueError that begins with `place` if it is anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{place} must be text, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a JSON escape can give half a surrogate pair
        raise ValueError(
            f"{place} has {value[error.start]!r}, half of a surrogate pair: write the whole character or remove it"
        ) from error
    return value


def _json_rows(path: str, argument: str) -> Iterator[tuple[int, Row]]:
    """Yield (number of the line, object) for each line that is not blank."""
    for number, line in enumerate(read_lines(path, argument), start=1):
        if not line.strip():
            continue
        place = f"{argument}: {path}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
            raise ValueError(f"{place}: not valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{place}: a {type(row).__name__}, not an object with fields")
        yield number, row


def _object(pairs: list[tuple[str, object]]) -> Row:
    """Return a JSON object; raise ValueError if it has a key twice, of which `json` would silently take the last."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"the key {_repeated([key for key, _ in pairs])} occurs twice")
    return row


def _csv_rows(path: str, argument: str) -> Iterator[tuple[int, Row]]:
    """Yield (number of the last line, cells by name) for each row that is not empty."""
    csv.field_size_limit(sys.maxsize)  # for a document in a cell; the default limit of a process is 131,072 characters
    text = decode(read_bytes(path, argument), f"{argument}: {path}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)  # line ends within quotes stay as they are
    header: list[str] = []
    try:
        for cells in reader:
            if not header:
                header = _checked_header(cells, reader.line_num, path, argument)
            elif cells:
                yield reader.line_num, _row(header, cells, reader.line_num, path, argument)
    except csv.Error as error:
        raise ValueError(f"{argument}: {path}, line {reader.line_num}: malformed ({error})") from error


def _tsv_rows(path: str, argument: str) -> Iterator[tuple[int, Row]]:
    """Yield (number of the line, cells by name) for each line that is not empty; quotes are text in a .tsv."""
    header: list[str] = []
    for number, line in enumerate(read_lines(path, argument), start=1):
        if line and not header:
            header = _checked_header(line.split("\t"), number, path, argument)
        elif line:
            yield number, _row(header, line.split("\t"), number, path, argument)


def _checked_header(header: list[str], number: int, path: str, argument: str) -> list[str]:
    """Return a header; raise ValueError if two of its columns have the same name; several may have none."""
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise ValueError(f"{argument}: {path}, line {number}: column {_repeated(named)} occurs twice: rename one")
    return header


def _row(header: list[str], cells: list[str], number: int, path: str, argument: str) -> Row:
    """Return the cells of a row by name."""
    if len(cells) != len(header):
        raise ValueError(
            f"{argument}: {path}, line {number}: {len(cells)} cells, but the header has {len(header)}: correct the row"
        )
    return dict(zip(header, cells, strict=True))


def _repeated(names: list[str]) -> str:
    """Return the first of the names that occur more than once, quoted."""
    return repr(next(name for name, count in Counter(names).items() if count > 1))


READERS: dict[str, Callable[[str, str], Iterator[tuple[int, Row]]]] = {
    ".tsv": _tsv_rows,
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
}
