import os
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from utils.checkpoints import is_sound, misfit, newest_sound_checkpoint, read_checkpoint


def write(path: Path, epoch: int = 0, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": {"w": torch.arange(4000.0)}, "config": {"a": 1}, "loops": {}, "epoch": epoch, **more}
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
    assert checkpoint["epoch"] == 3 and checkpoint["config"] == {"a": 1}
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
        assert not is_sound(tmp_path / name)
        assert not target.exists()
    pickle.loads((tmp_path / "old.ckpt").read_bytes())  # it is a real one
    assert target.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, share):
    path = write(tmp_path / "a.ckpt")
    truncate(path, share)
    with pytest.raises(ValueError, match=r"a\.ckpt cannot be read"):
        read_checkpoint(path)
    assert not is_sound(path)


@pytest.mark.parametrize("content", [{"w": torch.zeros(2)}, {"state_dict": {}}, [1, 2]])
def test_a_file_of_someone_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(ValueError, match=r"theirs\.ckpt was not written by `oneforall fit`.*init_from"):
        read_checkpoint(tmp_path / "theirs.ckpt")


def test_weights_alone_are_nothing_to_resume_from(tmp_path):
    assert is_sound(write(tmp_path / "whole.ckpt"))
    assert not is_sound(write(tmp_path / "weights.ckpt", loops=None))
    assert not is_sound(tmp_path / "nowhere.ckpt")


def test_flipped_bits_are_noticed_wherever_they_are(tmp_path):
    """Whatever is_sound lets pass has every value intact."""
    path = write(tmp_path / "a.ckpt")
    whole, noticed = path.read_bytes(), 0
    draw = random.Random(0)
    ends = [*range(60), *range(len(whole) - 400, len(whole))]  # where a zip archive keeps its own structure
    for position in ends + draw.sample(range(len(whole)), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        if is_sound(path):
            checkpoint = read_checkpoint(path)
            assert torch.equal(checkpoint["state_dict"]["w"], torch.arange(4000.0)), position
        else:
            noticed += 1
    assert noticed > 100


# --- which one to resume from --------------------------------------------------------------------------------------


def test_nothing_there_is_a_run_that_begins(tmp_path):
    assert newest_sound_checkpoint(tmp_path) is None
    write(tmp_path / "checkpoints" / "best.ckpt")  # not one to resume from
    write(tmp_path / "checkpoints" / "last.ckpt.tmp")
    assert newest_sound_checkpoint(tmp_path) is None


def test_the_last_one_without_a_word(tmp_path):
    last = write(tmp_path / "checkpoints" / "last.ckpt")
    write(tmp_path / "checkpoints" / "previous.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_sound_checkpoint(tmp_path) == str(last)


def test_killed_between_the_two_renames(tmp_path):
    previous = write(tmp_path / "checkpoints" / "previous.ckpt")
    assert newest_sound_checkpoint(tmp_path) == str(previous)


def test_a_damaged_last_one_is_passed_over_with_a_warning(tmp_path):
    last = write(tmp_path / "checkpoints" / "last.ckpt")
    previous = write(tmp_path / "checkpoints" / "previous.ckpt")
    truncate(last, 0.9)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged"):
        assert newest_sound_checkpoint(tmp_path) == str(previous)
    content = bytearray(write(last).read_bytes())
    content[len(content) // 2] ^= 1  # of full length, with one bit wrong in the weights
    last.write_bytes(content)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged"):
        assert newest_sound_checkpoint(tmp_path) == str(previous)


def test_none_sound_is_an_error_that_keeps_them(tmp_path):
    for name in ("last.ckpt", "previous.ckpt"):
        truncate(write(tmp_path / "checkpoints" / name), 0.5)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"checkpoints is sound"):
        newest_sound_checkpoint(tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_weights_that_do_not_fit_are_named():
    net, other = torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.nn.Sequential(torch.nn.Linear(2, 4))
    weights = {**net.state_dict(), "7.weight": torch.zeros(1)}
    del weights["0.bias"]
    with pytest.raises(RuntimeError) as raised:
        other.load_state_dict(weights)
    told = misfit("a.ckpt", raised.value)
    assert told is not None and "\n" not in told
    assert all(word in told for word in ("a.ckpt", "missing 0.bias", "unexpected 7.weight", "mismatch for 0.weight"))
    assert misfit("a.ckpt", RuntimeError("CUDA out of memory")) is None
    assert misfit("a.ckpt", RuntimeError()) is None
