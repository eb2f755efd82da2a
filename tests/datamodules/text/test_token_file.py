"""A table in a file is the table that was written, memory-mapped, or an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.text.token_file import open_table, write_table
from datamodules.text.token_table import TokenTable
from tests.datamodules.text.counting import rows

ROWS = [[5, 6, 7, 1], [1], [], [8, 9, 65535, 1]]


def written(path: Path, dtype: type = np.uint16) -> Path:
    with path.open("wb") as file:
        write_table([TokenTable.of(ROWS[:1]), TokenTable.of([]), TokenTable.of(ROWS[1:])], file, np.dtype(dtype))
    return path


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_a_table_is_as_it_was_written(tmp_path: Path, dtype: type) -> None:
    table = open_table(written(tmp_path / "file", dtype), len(ROWS))
    assert rows(table) == ROWS
    assert table.ids.dtype == dtype
    assert table.lengths().tolist() == [4, 1, 0, 4]


def test_ids_stay_in_the_file(tmp_path: Path) -> None:
    ids = open_table(written(tmp_path / "file"), len(ROWS)).ids
    assert isinstance(ids.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


@pytest.mark.parametrize("count", [0, 2])
def test_a_table_may_hold_nothing(tmp_path: Path, count: int) -> None:
    with (tmp_path / "file").open("wb") as file:
        write_table([TokenTable.of([[]] * count)], file, np.dtype(np.int32))
    assert rows(open_table(tmp_path / "file", count)) == [[]] * count


def test_every_byte_counts(tmp_path: Path) -> None:
    content = written(tmp_path / "intact").read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / "file").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"footer|checksum|number of rows"):
            open_table(tmp_path / "file", len(ROWS))
    for size in range(len(content)):
        (tmp_path / "file").write_bytes(content[:size])
        with pytest.raises(ValueError, match="footer"):
            open_table(tmp_path / "file", len(ROWS))
    with pytest.raises(ValueError, match="number of rows"):
        open_table(tmp_path / "intact", 3)
