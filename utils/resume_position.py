"""The position of a resumed run, and whether it can continue within an epoch.

Loaders start at the number of the next batch. That is exact only if the batches of the epoch are those that the
checkpoint was trained on: with another batch size, number of processes or set of examples, the same number means
another place, and examples would silently be repeated or left out. The epoch then begins again.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from lightning.pytorch import Trainer

from utils.accumulation import steps_in

PLAN_KEY = "batch_plan"
"""Key of a checkpoint that holds what `batch_plan` returned."""


@runtime_checkable
class HasBatchDigest(Protocol):
    """A training loader that can tell whether its batches are those of another one."""

    def digest(self) -> int:
        """Return a number that is the same for two loaders if each epoch has the same batches."""
        ...


def checksum(parts: Iterable[bytes]) -> int:
    """Return a checksum of some bytes and of where each part ends."""
    total = 0
    for part in parts:
        total = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "little"), total))
    return total


def batch_plan(trainer: Trainer) -> dict[str, Any]:
    """Return values that tell whether two runs have the same batches; those of the first process stand for all."""
    loader = trainer.train_dataloader
    return {
        "world_size": trainer.world_size,
        "batches": trainer.num_training_batches,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "digest": loader.digest() if isinstance(loader, HasBatchDigest) else None,
    }


class Position(NamedTuple):
    """Where a checkpoint was written.

    Attributes:
        epochs: Number of epochs that have ended.
        batches: Number of batches trained on in the epoch in progress; 0 between two epochs.
        steps: Number of optimizer steps so far.
    """

    epochs: int
    batches: int
    steps: int


def position_of(checkpoint: dict[str, Any]) -> Position:
    """Return the position of a checkpoint."""
    fit_loop = checkpoint["loops"]["fit_loop"]
    epochs = fit_loop["epoch_progress"]["current"]
    in_progress = epochs["ready"] > epochs["processed"]
    batches = fit_loop["epoch_loop.batch_progress"]["current"]["completed"] if in_progress else 0
    return Position(epochs["processed"], batches, checkpoint["global_step"])


def goes_on_within_epoch(trainer: Trainer, checkpoint: dict[str, Any]) -> bool:
    """Return whether the epoch in progress can continue where it stopped; every process must call this.

    It can if the same processes have the same batches, and the next one, if any, begins an optimizer step. A
    checkpoint of an earlier version, which does not say what its batches were, is assumed to have the same ones.
    """
    saved = checkpoint.get(PLAN_KEY)
    if saved is None:
        return True
    now, batches = batch_plan(trainer), position_of(checkpoint).batches
    same = all(saved[key] == now[key] for key in ("world_size", "digest"))
    if saved["digest"] is None:
        same = same and saved["batches"] == now["batches"]
    begins_a_step = batches == now["batches"] or batches % now["accumulate_grad_batches"] == 0
    return bool(trainer.strategy.broadcast(same and batches <= now["batches"] and begins_a_step))


def lacks_no_batch(checkpoint: dict[str, Any]) -> bool:
    """Return whether the epoch in progress has had all of its batches: its validation is to come."""
    return bool(0 < checkpoint[PLAN_KEY]["batches"] <= position_of(checkpoint).batches)


def next_whole_epoch(checkpoint: dict[str, Any]) -> int:
    """Return the epoch that begins if the one in progress cannot continue: the same one, unless it lacks no batch."""
    return position_of(checkpoint).epochs + lacks_no_batch(checkpoint)


def renew_position(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Move a checkpoint whose epoch cannot continue because the batches have changed; optimizer steps still count.

    The position becomes the beginning of the epoch or, if that lacks no batch, the end of an epoch with its present
    number of batches: validation follows.
    """
    fit_loop = checkpoint["loops"]["fit_loop"]
    batches, now = fit_loop["epoch_loop.batch_progress"]["current"], trainer.num_training_batches
    if lacks_no_batch(checkpoint):
        if not math.isinf(now):
            batches.update(dict.fromkeys(batches, now))
        return
    for counts in fit_loop["epoch_progress"].values():
        counts.update(dict.fromkeys(counts, counts["processed"]))
    batches.update(dict.fromkeys(batches, 0))


def planned_steps(trainer: Trainer, checkpoint: dict[str, Any] | None) -> float:
    """Return the number of optimizer steps of the whole run: those done and those to come; infinity if it has no end.

    In a run whose number of steps per epoch has changed, this differs from Lightning's estimate, which assumes that
    all epochs have had as many steps as they have now.

    Args:
        trainer: The trainer of the run.
        checkpoint: The checkpoint that it resumes from, if any.
    """
    steps: float = trainer.estimated_stepping_batches
    if checkpoint is None or trainer.max_epochs in (None, -1) or math.isinf(trainer.num_training_batches):
        return steps
    epochs, batches, done = position_of(checkpoint)
    if not goes_on_within_epoch(trainer, checkpoint):
        epochs, batches = next_whole_epoch(checkpoint), 0
    per_epoch = steps_in(trainer, trainer.num_training_batches)
    to_come = (trainer.max_epochs - epochs) * per_epoch - steps_in(trainer, batches)
    planned = done + max(0, to_come)
    return min(planned, trainer.max_steps) if trainer.max_steps != -1 else planned
