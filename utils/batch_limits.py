"""Trainer flags that limit a stage to some of its batches."""

from __future__ import annotations

from collections.abc import Iterable

from lightning.pytorch import Trainer


def active_limits(trainer: Trainer, stages: Iterable[str]) -> dict[str, float]:
    """Return the trainer flags that leave out examples in these stages (train, val, test), with their values."""
    given = {f"limit_{stage}_batches": getattr(trainer, f"limit_{stage}_batches") for stage in stages}
    # 1.0 is all of them, 1 is a single batch
    return {name: value for name, value in given.items() if value != 1 or isinstance(value, int)}
