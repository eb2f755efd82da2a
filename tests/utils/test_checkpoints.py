"""Checkpoint files that are whole, truncated, hostile, foreign or of another format, and the newest intact one."""

import os
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from utils.checkpoints import (
    FORMAT,
    check_format,
    explain_misfit,
    first_few,
    is_intact,
    load_plain,
    newest_intact_checkpoint,
    read_checkpoint,
    read_config,
)


def write(path: Path, epoch: int = 0, **more: Any) -> Path:
    """Write a checkpoint; entries that are None are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "state_dict": {"w": torch.arange(4000.0)},
        "config": {"a": 1},
        "format": FORMAT,
        "loops": {},
        "epoch": epoch,
        **more,
    }
    torch.save({name: value for name, value in content.items() if value is not None}, path)
    return path


def truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


class Hostile:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


# --- one file ------------------------------------------------------------------------------------------------------


def test_reads_what_was_written(tmp_path):
    checkpoint = read_checkpoint(str(write(tmp_path / "a.ckpt", epoch=3)))
    assert checkpoint["epoch"] == 3
    assert checkpoint["config"] == {"a": 1}
    assert torch.equal(checkpoint["state_dict"]["w"], torch.arange(4000.0))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt"):
        read_checkpoint(tmp_path / "nowhere.ckpt")


def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path):
    target = tmp_path / "it-ran"
    write(tmp_path / "new.ckpt", callbacks=Hostile(target))
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps({"state_dict": {}, "config": Hostile(target)}, protocol=2))
    for name in ("new.ckpt", "old.ckpt"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read.*run code"):
            read_checkpoint(tmp_path / name)
        assert not is_intact(tmp_path / name)
        assert not target.exists()
    pickle.loads((tmp_path / "old.ckpt").read_bytes())  # the pickle does run code
    assert target.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, share):
    path = write(tmp_path / "a.ckpt")
    truncate(path, share)
    with pytest.raises(ValueError, match=r"a\.ckpt cannot be read"):
        read_checkpoint(path)
    assert not is_intact(path)


@pytest.mark.parametrize("content", [{"w": torch.zeros(2)}, {"state_dict": {}}, [1, 2]])
def test_a_file_of_another_program_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(ValueError, match=r"theirs\.ckpt was not written by `oneforall fit`.*init_from"):
        read_checkpoint(tmp_path / "theirs.ckpt")


def test_weights_alone_cannot_be_resumed_from(tmp_path):
    assert is_intact(write(tmp_path / "whole.ckpt"))
    assert not is_intact(write(tmp_path / "weights.ckpt", loops=None))
    assert not is_intact(tmp_path / "nowhere.ckpt")


def test_flipped_bits_are_noticed_wherever_they_are(tmp_path):
    """In whatever passes, every value is right."""
    path = write(tmp_path / "a.ckpt")
    whole, noticed = path.read_bytes(), 0
    draw = random.Random(0)
    ends = [*range(60), *range(len(whole) - 400, len(whole))]  # the structure of the zip archive
    for position in ends + draw.sample(range(len(whole)), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        if is_intact(path):
            checkpoint = read_checkpoint(path)
            assert torch.equal(checkpoint["state_dict"]["w"], torch.arange(4000.0)), position
        else:
            noticed += 1
    assert noticed > 100


# --- the newest intact one -----------------------------------------------------------------------------------------


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


def test_a_damaged_last_one_is_skipped_with_a_warning(tmp_path):
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


def test_the_newest_intact_one_must_have_this_format(tmp_path):
    write(tmp_path / "checkpoints" / "last.ckpt", format=FORMAT - 1)
    write(tmp_path / "checkpoints" / "previous.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt was written by an earlier version"):
        newest_intact_checkpoint(tmp_path)


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "words"),
    [(None, "an earlier version .*format 1,"), (1, "an earlier version .*format 1,"), (FORMAT + 1, "another version")],
)
def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(tmp_path, found, words):
    path = write(tmp_path / "a.ckpt", format=found)
    assert read_checkpoint(path)["epoch"] == 0  # for its weights
    with pytest.raises(ValueError, match=rf"a\.ckpt was written by {words}.*--model\.init_from {path}") as refused:
        read_config(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=words):
        check_format(read_checkpoint(path), path)


def test_a_checkpoint_of_this_format_gives_its_config(tmp_path):
    path = write(tmp_path / "a.ckpt", config={"model": {"seed": 3}})
    assert read_config(path) == {"model": {"seed": 3}}
    check_format(read_checkpoint(path), path)


# --- plain files and messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_data_of_either_format_of_torch_is_read(tmp_path, zipped):
    torch.save({"w": torch.arange(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert torch.equal(load_plain(tmp_path / "a.pt")["w"], torch.arange(3))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_file_is_said_to_be_so_without_its_name(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"^it is (damaged or truncated: \w+|not plain data: .*)$"):
        load_plain(tmp_path / "a.pt")


def test_the_first_problems_and_the_number_of_the_others_are_one_line():
    assert first_few(["a", "b", "c"]) == "a; b; c"
    assert first_few(["a", "b", "c", "d", "e"]) == "a; b; c; and 2 more"
    assert first_few(["a", "b"], shown=1) == "a; and 1 more"


def test_weights_that_do_not_fit_are_named():
    net, other = torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.nn.Sequential(torch.nn.Linear(2, 4))
    weights = {**net.state_dict(), "7.weight": torch.zeros(1)}
    del weights["0.bias"]
    with pytest.raises(RuntimeError) as raised:
        other.load_state_dict(weights)
    explained = explain_misfit("a.ckpt", raised.value)
    assert explained is not None
    assert "\n" not in explained
    assert all(
        word in explained for word in ("a.ckpt", "missing 0.bias", "unexpected 7.weight", "mismatch for 0.weight")
    )
    assert explain_misfit("a.ckpt", RuntimeError("CUDA out of memory")) is None
    assert explain_misfit("a.ckpt", RuntimeError()) is None
