"""checkpoints/best.ckpt: the weights that did best on the validation data."""

from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class BestCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, keeping one file, `checkpoints/best.ckpt` in the run folder.

    A run without validation data has nothing to choose by and gets no `best.ckpt`; `last.ckpt` is then the one to use.

    Args:
        monitor: The logged metric to choose by.
        mode: Whether the best value is the largest (`max`) or the smallest (`min`).
    """

    def __init__(self, monitor: str = "val/accuracy", mode: Literal["min", "max"] = "max"):
        super().__init__(
            monitor=monitor, mode=mode, filename="best", enable_version_counter=False, save_on_train_epoch_end=False
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)
