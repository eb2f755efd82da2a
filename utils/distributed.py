"""The processes of a run: this one's rank, and gathering what all of them hold."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed
from lightning.pytorch import Trainer

Part = TypeVar("Part")
Row = TypeVar("Row")


def rank_and_world_size(trainer: Trainer | None) -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) without a trainer."""
    return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)


def gather_parts(mine: Part, *, everywhere: bool = True) -> list[Part]:
    """Return every process's part, in the order of their ranks; every process must call this.

    Args:
        mine: This process's part; anything that can be pickled.
        everywhere: Whether all processes receive the parts. If false, all but the first get an empty list.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
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


def gather_rows(mine: dict[int, Row]) -> dict[int, Row]:
    """Return the rows of all processes, keyed by their place in the data, to the first process; every one must call.

    Returns:
        All rows on the first process, an empty dictionary on the others.
    """
    return {index: row for part in gather_parts(mine, everywhere=False) for index, row in part.items()}
