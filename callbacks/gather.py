"""What each process has seen of a data set, brought together."""

from typing import Any, TypeVar

import torch
from lightning.pytorch import Trainer

Row = TypeVar("Row")


def gather_rows(rows: dict[int, Row], trainer: Trainer) -> dict[int, Row]:
    """The rows of all processes by their place in the data set, on the first process; every process must call it."""
    if trainer.world_size == 1:
        return rows
    parts: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(rows, parts)
    return {index: row for part in parts or [] for index, row in part.items()}
