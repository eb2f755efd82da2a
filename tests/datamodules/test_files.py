"""A file is whole or as it was, whatever happens while it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.files import replacing


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "a.npy"
    for content in ("old", "new"):
        with replacing(file) as temporary:
            temporary.write_text(content)
    assert [path.name for path in file.parent.iterdir()] == ["a.npy"]
    assert file.read_text() == "new"


def test_a_failure_leaves_the_old_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    file.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(file) as temporary:
        temporary.write_text("ne")
        raise OSError("disk full")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert file.read_text() == "old"
