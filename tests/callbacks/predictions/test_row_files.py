"""Rows in one file per process, read as one mapping."""

import errno
from pathlib import Path

import pytest

from callbacks.predictions.row_files import RowFiles, RowWriter


def written(folder: Path, *parts: dict[int, object]) -> list[Path]:
    paths = []
    for part in parts:
        writer = RowWriter(folder / "rows.csv")
        for place, row in part.items():
            writer.add({place: row})
        writer.close()
        paths.append(writer.path)
    return paths


def test_10782_rows_of_all_files_are_found_by_their_place(tmp_path):
    parts = [{4: "a\tb\nc", 0: "ä\u2028\ud800"}, {}, {1: [3, [0.1, 1e-30]], 3: ""}]
    paths = written(tmp_path, *parts)
    assert len({*paths}) == 3
    with RowFiles[object](paths) as rows:
        assert dict(rows) == {place: row for part in parts for place, row in part.items()}
        assert sorted(rows) == [0, 1, 3, 4]
        assert len(rows) == 4
        assert rows.get(2) is None
        assert rows[0] == rows[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", [0, 1])
def test_the_files_are_removed_whatever_happens(tmp_path, missing):
    paths = written(tmp_path, {1: "a"}, {2: "b"})
    with pytest.raises(RuntimeError, match="disk"), RowFiles[str](paths):
        raise RuntimeError("disk")
    assert list(tmp_path.iterdir()) == []
    paths = written(tmp_path, {1: "a"}, {2: "b"})
    paths[missing].unlink()
    with pytest.raises(FileNotFoundError), RowFiles[str](paths):
        pass
    assert not paths[0].exists()
    writer = RowWriter(tmp_path / "new" / "rows.csv")
    writer.add({1: "a"})
    writer.discard()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    writer = RowWriter(tmp_path / "rows.csv")
    writer.add({1: "a"})

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("callbacks.predictions.row_files.flush", full)
    with pytest.raises(OSError, match="the disk is full; free some space"):
        writer.close()
