"""Distributed runs: rank and world size, shares of an evaluation, gathering, and agreement without waiting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

Part = TypeVar("Part")
Row = TypeVar("Row")


def rank_and_world_size(trainer: Trainer | None) -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) without a trainer."""
    return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)


def has_others() -> bool:
    """Return whether this process is one of several that can talk to each other."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def has_whole_weights(trainer: Trainer) -> bool:
    """Return whether this process has all weights and can use them without the others."""
    return trainer.world_size == 1 or isinstance(trainer.strategy, DDPStrategy)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of the first process; every process must call this with the same shapes."""
    if has_others():
        for tensor in tensors:
            torch.distributed.broadcast(tensor, src=0)


class Agreement:
    """The largest number that any process names, without waiting: each call returns the answer to the one before.

    Every process must call `largest` equally often. If a training step separates two calls, all processes have made the
    first by the time of the second, so its answer has arrived. It is the same on all processes, so that all of them act
    on it at the same step. Numbers travel between CPUs (gloo), separately from what GPUs send each other.

    A process without others has the answer at once.

    Args:
        count: How many numbers each call names.
    """

    def __init__(self, count: int) -> None:
        self._group: Any = torch.distributed.new_group(backend="gloo") if has_others() else None
        self._answer = torch.zeros(count, dtype=torch.int64)
        self._work: torch.distributed.Work | None = None

    def largest(self, *mine: int) -> list[int]:
        """Return the largest numbers of the last call (at first zeros), or of this one if no other processes exist."""
        if self._group is None:
            return list(mine)
        answer = self._received()
        self._answer = torch.tensor(mine)
        self._work = torch.distributed.all_reduce(
            self._answer, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        return answer

    def _received(self) -> list[int]:
        if self._work is not None:
            self._work.wait()
        return [int(number) for number in self._answer.tolist()]

    def close(self) -> None:
        """Wait for the last answer, which nobody reads, and leave the group."""
        if self._group is not None:
            self._received()
            torch.distributed.destroy_process_group(self._group)
            self._group = self._work = None


def deal(batches: Sequence[Tensor], rank: int, world_size: int) -> list[Tensor]:
    """Return a process's batches of an evaluation: process r has batches r, r + world_size, ...

    Whole batches are dealt, so that which examples share a batch does not depend on the number of processes: the last
    bits of an example's figures do depend on the others in its batch. All processes have the same number of batches, so
    that none waits for another in a hook; where there are too few, the last one is empty.

    Args:
        batches: All batches, each a tensor whose first dimension counts examples.
        rank: Number of the process.
        world_size: Number of processes.
    """
    mine = list(batches[rank::world_size])
    missing = -(-len(batches) // world_size) - len(mine)
    return mine + [batches[0][:0] for _ in range(missing)]


def number_among_all(trainer: Trainer, batch_idx: int) -> int:
    """Return the number, among the batches of all processes, of one that `deal` gave to this process."""
    return batch_idx * trainer.world_size + trainer.global_rank


def gather_parts(mine: Part, *, everywhere: bool = True) -> list[Part]:
    """Return every process's part, in the order of their ranks; every process must call this.

    Args:
        mine: This process's part; anything that can be pickled.
        everywhere: Whether all processes receive the parts. If false, all but the first get an empty list.
    """
    if not has_others():
        return [mine]
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    if everywhere:
        torch.distributed.all_gather_object(parts, mine)
        return parts
    first = torch.distributed.get_rank() == 0
    torch.distributed.gather_object(mine, parts if first else None)
    return parts if first else []


def gather_list(mine: list[Row]) -> list[Row]:
    """Return the items of all processes, those of the first rank first; every process must call this."""
    return [item for part in gather_parts(mine) for item in part]
