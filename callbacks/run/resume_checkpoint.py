"""checkpoints/last.ckpt and previous.ckpt: what `--resume` continues from, bit for bit."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.run.metrics_csv import MetricsCSV

ASK_EVERY = 20  # chances to save, from one question about the time to the next, where there are several processes


class ResumeCheckpoint(Callback):
    """Saves the whole state of a run between two steps, so that it can go on as if nothing had happened.

    A checkpoint is written to a temporary name, then the last one becomes `previous.ckpt` and the new one
    `last.ckpt`: at any moment at least one whole checkpoint is there.

    It is written when a step or an epoch is about to begin: everything of the one before has been done then, its
    metrics logged and its averages updated. (Lightning's own hooks at the end of a step or an epoch come before those
    are logged, and a run resumed from there lacks a row of its metrics.) One step in an accumulation is not a place to
    stop either, since gradients are not saved.

    Args:
        every_n_seconds: Least time between two checkpoints. Several processes compare clocks only every 20 steps.
        every_n_steps: Also after this many optimizer steps; null for by time alone.
    """

    def __init__(self, every_n_seconds: float = 60.0, every_n_steps: int | None = None):
        if every_n_seconds < 0:
            raise ValueError(f"every_n_seconds must not be negative, got {every_n_seconds}")
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_seconds = every_n_seconds
        self.every_n_steps = every_n_steps
        self._saved_at = (time.monotonic(), 0)  # seconds, optimizer steps
        self._chances = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = Path(trainer.default_root_dir) / "checkpoints"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is None:  # the run starts: whatever an earlier start logged is not part of it
            for logger in _metrics_files(trainer):
                logger.keep_rows(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = (time.monotonic(), trainer.global_step)
        self._chances = 0
        _begin_epoch_if_between_two(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Here and not at the epoch's first batch, for which Lightning has set the counts of the last epoch back
        if trainer.global_step > self._saved_at[1] and self._due(trainer):
            self.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        mid_accumulation = batch_idx % trainer.accumulate_grad_batches != 0
        if not mid_accumulation and not _validation_just_done(trainer, batch_idx) and self._due(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning's other checkpoints are off in a fast_dev_run too
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes `last.ckpt`, keeping the one before as `previous.ckpt`."""
        last, temporary = self.folder / "last.ckpt", self.folder / "last.ckpt.tmp"
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            if last.exists():
                last.replace(self.folder / "previous.ckpt")
            temporary.replace(last)
        self._saved_at = (time.monotonic(), trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics_rows"] = [len(logger.rows) for logger in _metrics_files(trainer)]
        _forget_what_has_not_begun(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            for logger, rows in zip(_metrics_files(trainer), checkpoint.get("metrics_rows", []), strict=False):
                logger.keep_rows(rows)

    def _due(self, trainer: Trainer) -> bool:
        """Whether it is time; the same on all processes."""
        if self.every_n_steps is not None and trainer.global_step - self._saved_at[1] >= self.every_n_steps:
            return True
        due = time.monotonic() - self._saved_at[0] >= self.every_n_seconds
        if trainer.world_size == 1:
            return due
        self._chances += 1
        # The clocks of processes differ, and asking the first one for its own makes all of them wait
        return self._chances % ASK_EVERY == 0 and bool(trainer.strategy.broadcast(due))


def _metrics_files(trainer: Trainer) -> list[MetricsCSV]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsCSV)]


def _validation_just_done(trainer: Trainer, batch_idx: int) -> bool:
    """Whether an epoch begins or a validation may have been done: resumed there, Lightning counts one step too many."""
    if batch_idx == 0:
        return True
    if trainer.val_check_batch is None:  # validation by the clock, which a resumed run starts anew
        return False
    over_epochs = trainer.check_val_every_n_epoch is None
    return (trainer.fit_loop.total_batch_idx if over_epochs else batch_idx) % trainer.val_check_batch == 0


def _forget_what_has_not_begun(fit_loop: dict[str, Any]) -> None:
    """Makes the saved position one between two batches or epochs: the one in hand has not been begun.

    Lightning counts a batch as `ready` before `on_train_batch_start`. Left so, a resumed run takes the step before
    for one whose validation is still to come, and counts a step twice. It does the same with an epoch before
    `on_train_epoch_start`, and of a run resumed there it forgets to count one.
    """
    for progress in (fit_loop["epoch_progress"], fit_loop["epoch_loop.batch_progress"]):
        for count in (progress["total"], progress["current"]):
            if count["started"] == count["ready"] - 1 == count["completed"]:
                count["ready"] -= 1


def _begin_epoch_if_between_two(trainer: Trainer) -> None:
    """Has a run that was saved between two epochs begin the next.

    Lightning does so where `max_epochs` sets the end; where `max_steps` does, it would first end the last one again.
    """
    epochs = trainer.fit_loop.epoch_progress.current
    if epochs.ready == epochs.processed:  # type: ignore[attr-defined]
        trainer.fit_loop._restarting = False
        trainer.fit_loop.epoch_loop.restarting = False
