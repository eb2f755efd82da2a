"""Gathering from one process, and from two real ones."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed
from lightning.pytorch import Trainer

from utils.distributed import Agreement, copy_from_first, gather_list, gather_parts, gather_rows, rank_and_world_size

ROOT = Path(__file__).parents[2]


def test_rank_and_world_size_are_those_of_the_trainer():
    two: Any = SimpleNamespace(global_rank=1, world_size=2)
    assert rank_and_world_size(None) == (0, 1)
    assert rank_and_world_size(two) == (1, 2)
    assert rank_and_world_size(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)) == (0, 1)


def test_one_process_gathers_what_it_has():
    for everywhere in (True, False):
        assert gather_parts({"a": 1}, everywhere=everywhere) == [{"a": 1}]
    assert gather_list([3, 1, 2]) == [3, 1, 2]
    assert gather_list([]) == []
    assert gather_rows({4: "d", 1: "a"}) == {4: "d", 1: "a"}


def test_one_process_agrees_with_itself_at_once():
    agreement = Agreement(2)
    assert [agreement.largest(0, 7), agreement.largest(3, 0)] == [[0, 7], [3, 0]]
    agreement.close()


def agree(rank: int) -> list[list[int]]:
    """Name numbers at five steps, at the third of which the second process has something to say."""
    agreement = Agreement(2)
    answers = []
    for step in range(5):
        answers.append(agreement.largest(15 if (rank, step) == (1, 2) else 0, 10 * rank + step))
        torch.distributed.barrier()  # a training step
    agreement.close()
    return answers


def copied(rank: int) -> list[Any]:
    tensors = [torch.full((2, 2), float(rank)), torch.tensor(rank)]
    copy_from_first(tensors)
    return [tensor.tolist() for tensor in tensors]


def gather_as(rank: int, folder: Path) -> None:
    """Run as one of two processes: gather everything, and write what has come."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    mine: dict[str, Any] = {"rank": rank, "texts": ["ä"] * rank}
    found = {
        "everywhere": gather_parts(mine),
        "first": gather_parts(mine, everywhere=False),
        "list": gather_list([[10, 30], [20]][rank]),
        "uneven": gather_list([["only"], []][rank]),
        "rows": gather_rows([{0: "a", 2: "c"}, {1: "b"}][rank]),
        "none": gather_rows({}),
        "agreed": agree(rank),
        "copied": copied(rank),
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_gather_in_the_order_of_their_ranks(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-m", "tests.utils.test_distributed", str(rank), str(tmp_path)], cwd=ROOT)
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    parts = [{"rank": 0, "texts": []}, {"rank": 1, "texts": ["ä"]}]
    shared = {"everywhere": parts, "list": [10, 30, 20], "uneven": ["only"], "copied": [[[0.0, 0.0], [0.0, 0.0]], 0]}
    shared["agreed"] = [[0, 0], [0, 10], [0, 11], [15, 12], [0, 13]]  # each at the next step
    assert first == {**shared, "first": parts, "rows": {"0": "a", "1": "b", "2": "c"}, "none": {}}
    assert second == {**shared, "first": [], "rows": {}, "none": {}}


if __name__ == "__main__":
    gather_as(int(sys.argv[1]), Path(sys.argv[2]))
