"""Trainers for the tests of datamodules: fakes at any position and rank, and small real ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn


def fake_trainer(
    rank: int = 0, world_size: int = 1, *, epoch: int = 0, done: int = 0, stage: str | None = None, **changes: Any
) -> Trainer:
    """Return what a datamodule reads of a trainer.

    Args:
        rank: Number of the process.
        world_size: Number of processes.
        epoch: Current epoch.
        done: Number of its batches that are done.
        stage: "fit", "validate", "test" or "predict"; None for nothing.
        **changes: Other attributes.
    """
    progress = SimpleNamespace(current=SimpleNamespace(ready=done))
    attributes = {
        "global_rank": rank,
        "world_size": world_size,
        "num_devices": world_size,
        "is_global_zero": rank == 0,
        "current_epoch": epoch,
        "overfit_batches": 0.0,
        "limit_val_batches": 1.0,
        "limit_test_batches": 1.0,
        "limit_predict_batches": 1.0,
        "fit_loop": SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        "state": SimpleNamespace(fn=None if stage is None else TrainerFn(stage)),
        "accumulate_grad_batches": 1,
        "max_epochs": -1,
        "max_steps": -1,
        "num_training_batches": float("inf"),
        "default_root_dir": "no/such/folder",
        "lightning_module": None,
        "strategy": SimpleNamespace(root_device=torch.device("cpu")),
    }
    return cast(Trainer, SimpleNamespace(**attributes | changes))


def trainer_in(folder: Path, **changes: Any) -> Trainer:
    """Return a real trainer on the CPU that prints and saves nothing, for two epochs unless `changes` say otherwise."""
    options: dict[str, Any] = {"max_epochs": 2} | changes
    return Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


class SaveEachBatch(Callback):
    """Saves a checkpoint after each training batch, named by the epoch and the number of the batch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.save_checkpoint(self.path(trainer.current_epoch, batch_idx))

    def path(self, epoch: int, batch_idx: int) -> Path:
        return self.folder / f"{epoch}-{batch_idx}.ckpt"
