"""State of the trainer that datamodules read: the stage, the model, the device and the planned length of training."""

from __future__ import annotations

import math

import torch
from lightning.pytorch import LightningModule, Trainer

from utils.accumulation import steps_in


def stage_of(trainer: Trainer | None) -> str | None:
    """Return what a trainer is running: "fit", "validate", "test" or "predict"; None if nothing, or without one."""
    stage = trainer.state.fn if trainer is not None else None
    return None if stage is None else stage.value


def model_of(trainer: Trainer | None) -> LightningModule | None:
    """Return the module that a trainer works with; None without a trainer."""
    return trainer.lightning_module if trainer is not None else None


def device_of(trainer: Trainer | None) -> torch.device:
    """Return the device that this process computes on; the CPU without a trainer."""
    return trainer.strategy.root_device if trainer is not None else torch.device("cpu")


def planned_epochs(trainer: Trainer | None) -> float:
    """Return how many epochs `max_epochs` and `max_steps` allow; infinity if neither is set, or without a trainer."""
    if trainer is None:
        return math.inf
    by_epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else math.inf
    per_epoch = steps_in(trainer, trainer.num_training_batches)
    by_steps = trainer.max_steps / per_epoch if trainer.max_steps > 0 else math.inf
    return min(by_epochs, by_steps)
