import os

import pytest

from utils.batches import class_name, count_examples
from utils.files import Throttle, atomic_path


def test_atomic_path_replaces_only_when_the_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "curves.png"
    with atomic_path(target) as path:
        assert path.suffix == ".png" and path.parent == target.parent
        path.write_text("old")
        assert not target.exists()
    assert target.read_text() == "old"
    with pytest.raises(RuntimeError, match="disk"), atomic_path(str(target)) as path:
        path.write_text("half")
        raise RuntimeError("disk full")
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["curves.png"]


def test_atomic_path_without_a_written_file_is_an_error_and_keeps_the_old(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


def test_throttle_follows_the_clock():
    times = iter([100.0, 110.0, 119.9, 120.0, 139.0, 141.0])
    throttle = Throttle(20, clock=lambda: next(times))
    assert [throttle.due() for _ in range(6)] == [True, False, False, True, False, True]
    with pytest.raises(ValueError, match="seconds"):
        Throttle(-1)


def test_count_examples_and_class_name():
    import torch

    images, labels = torch.zeros(7, 3, 4, 4), torch.zeros(7)
    assert count_examples((images, labels)) == 7
    assert count_examples({"name": "x", "n": torch.tensor(3), "tokens": labels}) == 7
    assert count_examples(["a", None]) == 0
    assert class_name(["cat", "dog"], 1) == "dog"
    assert class_name(None, 1) == "1" and class_name(["cat"], 1) == "1"
