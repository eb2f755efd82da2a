"""The newest intact checkpoint of a run, with which it resumes; what is damaged or cannot be read is skipped."""

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.utils.checkpoint_files import truncate, write
from utils.checkpoints import FORMAT, newest_intact_checkpoint, read_checkpoint


def test_a_run_without_checkpoints_has_none(tmp_path):
    assert newest_intact_checkpoint(tmp_path) is None
    write(tmp_path / "checkpoints" / "best.ckpt")  # its optimizer is that of an earlier step
    write(tmp_path / "checkpoints" / "last.ckpt.tmp")
    assert newest_intact_checkpoint(tmp_path) is None


def test_an_intact_last_one_is_found_without_a_warning(tmp_path):
    last = write(tmp_path / "checkpoints" / "last.ckpt")
    write(tmp_path / "checkpoints" / "previous.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_intact_checkpoint(tmp_path) == str(last)


def test_a_run_killed_between_the_two_renames_has_its_previous_one(tmp_path):
    previous = write(tmp_path / "checkpoints" / "previous.ckpt")
    assert newest_intact_checkpoint(tmp_path) == str(previous)


def test_21431_a_damaged_last_one_is_skipped_with_a_warning(tmp_path):
    last = write(tmp_path / "checkpoints" / "last.ckpt")
    previous = write(tmp_path / "checkpoints" / "previous.ckpt")
    truncate(last, 0.9)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged"):
        assert newest_intact_checkpoint(tmp_path) == str(previous)
    content = bytearray(write(last).read_bytes())
    content[len(content) // 2] ^= 1  # of full length, with one bit wrong in the weights
    last.write_bytes(content)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged"):
        assert newest_intact_checkpoint(tmp_path) == str(previous)


def test_if_none_is_intact_that_is_an_error_which_keeps_them(tmp_path):
    for name in ("last.ckpt", "previous.ckpt"):
        truncate(write(tmp_path / "checkpoints" / name), 0.5)
    with (
        pytest.warns(UserWarning, match=r"(last|previous)\.ckpt is damaged and is skipped"),
        pytest.raises(ValueError, match=r"no checkpoint in .*checkpoints is intact; remove them to start"),
    ):
        newest_intact_checkpoint(tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def unread(monkeypatch: pytest.MonkeyPatch, *paths: Path, number: int = errno.EACCES) -> None:
    """Have the system refuse to open some checkpoints, as it does for no file if the tests run as root."""
    whole = torch.load

    def load(path: Path, **options: Any) -> Any:
        if Path(path) in paths:
            raise OSError(number, os.strerror(number))
        return whole(path, **options)

    monkeypatch.setattr("utils.torch_files.torch.load", load)


def test_a_checkpoint_that_the_system_does_not_let_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    last, previous = (write(tmp_path / "checkpoints" / f"{name}.ckpt") for name in ("last", "previous"))
    unread(monkeypatch, last, number=errno.EIO)
    with pytest.raises(OSError, match=r"^checkpoint .*last\.ckpt cannot be read: Input/output error$"):
        read_checkpoint(last)
    with pytest.warns(UserWarning, match=r"last\.ckpt is skipped: .* cannot be read: Input/output error") as warned:
        assert newest_intact_checkpoint(tmp_path) == str(previous)
    assert "damaged" not in str(warned[0].message)


def test_if_none_can_be_read_nothing_is_to_be_removed(tmp_path, monkeypatch):
    last, previous = (write(tmp_path / "checkpoints" / f"{name}.ckpt") for name in ("last", "previous"))
    truncate(previous, 0.5)
    unread(monkeypatch, last)
    with (
        pytest.warns(UserWarning, match=r"(last|previous)\.ckpt is"),
        pytest.raises(OSError, match=r"last\.ckpt cannot be read: Permission denied; make it readable and resume"),
    ):
        newest_intact_checkpoint(tmp_path)


def test_the_newest_intact_one_must_have_this_format(tmp_path):
    write(tmp_path / "checkpoints" / "last.ckpt", format=FORMAT - 1)
    write(tmp_path / "checkpoints" / "previous.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt was written by an earlier version"):
        newest_intact_checkpoint(tmp_path)
