import resource
import signal
from pathlib import Path

import pytest
import torch

from utils.checkpoint_io import WholeFileIO


def test_a_checkpoint_comes_back_equal(tmp_path):
    content = {"weights": torch.arange(5.0), "epoch": 3}
    WholeFileIO().save_checkpoint(content, tmp_path / "a.ckpt")
    read = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(read["weights"], content["weights"])
    assert read["epoch"] == 3


def test_nothing_is_written_outside_the_folder_of_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    (tmp_path / "run").mkdir()
    WholeFileIO().save_checkpoint({"a": 1}, tmp_path / "run" / "a.ckpt")
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "a.ckpt"]


def test_a_missing_folder_is_an_error_and_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="deleted or moved"):
        WholeFileIO().save_checkpoint({"a": 1}, tmp_path / "run" / "a.ckpt")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("size", [100, 5_000, 300_000])
def test_21800_a_disk_that_fills_up_names_the_file_and_leaves_the_old_one(tmp_path: Path, size: int):
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        with pytest.raises(OSError, match=r"a\.ckpt cannot be written: .*free some space"):
            WholeFileIO().save_checkpoint({"weights": torch.zeros(200_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.ckpt"]
