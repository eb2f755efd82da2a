"""Gradient accumulation: the batches that make up one optimizer step."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer


def steps_in(trainer: Trainer, batches: float) -> float:
    """Return the number of optimizer steps in an epoch of so many batches; infinity if their number is unknown.

    The last batch of an epoch is followed by a step even if the accumulation is not complete.
    """
    return math.ceil(batches / trainer.accumulate_grad_batches) if math.isfinite(batches) else math.inf


def accumulated_batches(trainer: Trainer | None, batch_idx: int, batches: float = math.inf) -> range:
    """Return the numbers, within the epoch, of all batches in the optimizer step that batch `batch_idx` is part of.

    The last step of an epoch may have fewer than `accumulate_grad_batches`.

    Args:
        trainer: The trainer; without one, each batch is a step.
        batch_idx: Number of the batch within the epoch.
        batches: Maximum number of batches in the epoch.
    """
    if trainer is None:
        return range(batch_idx, batch_idx + 1)
    first = batch_idx - batch_idx % trainer.accumulate_grad_batches
    return range(first, int(min(first + trainer.accumulate_grad_batches, batches, trainer.num_training_batches)))
