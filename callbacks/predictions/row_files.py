"""Temporary files of predictions, one per process, whose rows are read as one mapping."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from utils.files import flush, naming_full_disk, temporary_beside

Row = TypeVar("Row")


class RowWriter:
    """A temporary file that one process adds rows to.

    Each line is the place of a row in the data, a tab, and the row as JSON.

    Args:
        target: The file that the rows are for; the temporary file is beside it.
    """

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path = temporary_beside(target)
        self._file = self.path.open("wb")

    def add(self, rows: Mapping[int, object]) -> None:
        """Add rows, by their place in the data."""
        with naming_full_disk(self.path):
            self._file.writelines(f"{place}\t{json.dumps(row)}\n".encode() for place, row in rows.items())

    def close(self) -> None:
        """Write the file to the disk, for other processes to read."""
        with naming_full_disk(self.path):
            self._file.close()
            flush(self.path)

    def discard(self) -> None:
        """Remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class RowFiles(Mapping[int, Row]):
    """The rows of several files that `RowWriter` wrote, by their place in the data; only the places are in memory.

    Tuples have become lists. At the end of the `with` block, the files are removed.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._files: list[BinaryIO] = []
        self._where: dict[int, tuple[int, int]] = {}  # number of the file, offset
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            for number, path in enumerate(self._paths):
                self._stack.callback(path.unlink, missing_ok=True)
                file = self._stack.enter_context(path.open("rb"))
                self._files.append(file)
                offset = 0
                for line in file:
                    self._where[int(line.partition(b"\t")[0])] = (number, offset)
                    offset += len(line)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __getitem__(self, place: int) -> Row:
        number, offset = self._where[place]
        file = self._files[number]
        file.seek(offset)
        row: Row = json.loads(file.readline().partition(b"\t")[2])
        return row

    def __iter__(self) -> Iterator[int]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)
