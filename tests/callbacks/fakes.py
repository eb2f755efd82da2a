"""A clock that a test sets, images without end, and copies of a run folder as a killed run leaves it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import IterableDataset


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def timed_model(base: type[Any], validation_seconds: float) -> tuple[FakeClock, Any]:
    """Return a clock, and a model that takes 2 s of it per training batch, and the given time per validation batch."""
    clock = FakeClock()

    class Timed(base):
        def training_step(self, batch, batch_idx):
            clock.now += 2
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            clock.now += validation_seconds
            return super().validation_step(batch, batch_idx)

    return clock, Timed()


class Endless(IterableDataset):
    """Black images of class 0, without end."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield torch.zeros(3, 8, 8), torch.tensor(0)


class Snapshots(Callback):
    """Copies the run folder after every batch, validation and epoch: what a run killed there leaves."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies = folder, copies

    def _copy(self, trainer: Trainer, name: str) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            shutil.copytree(self.folder, self.copies / f"{name}-{trainer.fit_loop.total_batch_idx + 1}")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._copy(trainer, "batch")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._copy(trainer, "validation")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._copy(trainer, "epoch")
