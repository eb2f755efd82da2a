"""Summary line of an epoch: `epoch 3/20  train/loss 1.234  val/loss 0.98  val/accuracy 0.7101  0:42`."""

from __future__ import annotations

import math

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.pace import format_duration
from callbacks.run.saved_position import is_epoch_complete
from utils.contracts import ShowsTraining

LOSSES = ("train/loss", "val/loss")


class EpochLine:
    """Summary line of an epoch that has just ended, completed once its training metrics are available.

    Callbacks get what the module logs in `on_train_epoch_end` only after the epoch.

    Args:
        trainer: The trainer at the end of the epoch.
        validated: Whether the epoch included a validation; otherwise, the only scores are those of an earlier one.
        seconds: How long the epoch took, including validation.
    """

    def __init__(self, trainer: Trainer, validated: bool, seconds: float) -> None:
        self._place = f"epoch {format_epoch(trainer, trainer.current_epoch)}"
        if not is_epoch_complete(trainer):  # `max_steps` or `max_time` ends training within it
            done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
            self._place += f"  {format_step(done, trainer.num_training_batches)}"
        self._validated = validated
        self._seconds = seconds

    def parts(self, trainer: Trainer, pl_module: LightningModule) -> list[str]:
        """Return the parts of the line: the epoch, its losses and scores, its time."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if self._is_new(name)}
        names = [name for name in _names(trainer, pl_module) if name in metrics]
        return [self._place, *(f"{name} {metrics[name]:.4g}" for name in names), format_duration(self._seconds)]

    def _is_new(self, name: str) -> bool:
        return self._validated or not name.startswith("val/")


def _names(trainer: Trainer, pl_module: LightningModule) -> list[str]:
    """Return the metrics of an epoch's line: losses, what the progress bar shows, and what `best.ckpt` is chosen by."""
    training = pl_module.latest if isinstance(pl_module, ShowsTraining) else {}
    chosen = [str(each.monitor) for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    names = dict.fromkeys([*LOSSES, *training, *trainer.progress_bar_metrics, *chosen])
    return sorted(names, key=lambda name: not name.startswith("train/"))


def format_epoch(trainer: Trainer, epoch: int) -> str:
    """Return `3/20` for the third epoch of twenty, `3` if the number of epochs is unknown."""
    known = trainer.max_epochs is not None and trainer.max_epochs >= 0
    return f"{epoch + 1}/{trainer.max_epochs}" if known else str(epoch + 1)


def format_step(done: int, total: float) -> str:
    """Return `step 120/980  12%`, or `step 120` if the total is unknown."""
    if not math.isfinite(total):
        return f"step {done}"
    return f"step {done}/{int(total)}  {int(100 * done / max(total, 1))}%"
