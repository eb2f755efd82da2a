"""checkpoints/last.ckpt and previous.ckpt: what `--resume` resumes from, bit for bit.

On `--resume` the newest intact one of them is chosen (`utils/checkpoints.py`). Lightning restores weights, optimizer,
schedule and position; the LightningModule its tokenizer or vocabulary and the sums of the epoch so far
(`lightning_modules/training_module.py`); this callback drops the rows of metrics.csv that were logged after it. Loaders
start at the position (`datamodules/loader.py`), of which random numbers are a function: they need no state.
"""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.run.metrics_csv import MetricsCSV
from utils.checks import check_interval, check_positive_int

ASK_EVERY = 20
"""With several processes, how many chances to save pass from one comparison of the clocks to the next."""


class ResumeCheckpoint(Callback):
    """Checkpoint of the whole state of a run between two steps, from which a run resumes as if never interrupted.

    A checkpoint is written under a temporary name; then the last one becomes `previous.ckpt` and the new one
    `last.ckpt`, so that there is at least one intact checkpoint at any moment.

    It is written when a step or an epoch is about to begin. By then the one before is complete: its metrics are logged
    and its averages updated. (Lightning's own hooks at the end of a step or an epoch come before metrics are logged,
    and a run resumed from there lacks a row of its metrics.) Nothing is saved within a gradient accumulation, because
    checkpoints do not hold gradients.

    Args:
        every_n_seconds: Minimum time between two checkpoints, in seconds. Several processes compare their clocks only
            every 20 steps.
        every_n_steps: Number of optimizer steps after which a checkpoint is saved even before that time; if null, time
            alone decides.
    """

    def __init__(self, every_n_seconds: float = 60.0, every_n_steps: int | None = None):
        self.every_n_seconds = check_interval("every_n_seconds", every_n_seconds)
        self.every_n_steps = None if every_n_steps is None else check_positive_int("every_n_steps", every_n_steps)
        self._saved_at = (time.monotonic(), 0)  # seconds, optimizer steps
        self._chances = 0
        self._rows: list[int] | None = None  # of each metrics.csv at the checkpoint that is being loaded

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save into the run folder."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the interval between checkpoints; begin an epoch if the run was saved between two.

        By now the checkpoint has been restored: the metrics that were logged after it are dropped, or, if the run
        starts and is not resumed, those of an earlier start.
        """
        self._drop_metrics(trainer)
        self._saved_at = (time.monotonic(), trainer.global_step)
        self._chances = 0
        _begin_epoch_if_between_two(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save between two epochs if a checkpoint is due."""
        # Here and not at the epoch's first batch, by which Lightning has reset the counts of the last epoch
        if trainer.global_step > self._saved_at[1] and self._due(trainer):
            self.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save between two steps if a checkpoint is due."""
        mid_accumulation = batch_idx % trainer.accumulate_grad_batches != 0
        if not mid_accumulation and not _validation_just_done(trainer, batch_idx) and self._due(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the training, except in a fast_dev_run, which turns Lightning's checkpoints off too."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write `last.ckpt`, and keep the one before as `previous.ckpt`."""
        last, temporary = self.folder / "last.ckpt", self.folder / "last.ckpt.tmp"
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            if last.exists():
                last.replace(self.folder / "previous.ckpt")
            temporary.replace(last)
        self._saved_at = (time.monotonic(), trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the number of rows of metrics so far, and move the position to between two batches or epochs."""
        checkpoint["metrics_rows"] = [len(logger.rows) for logger in _metrics_files(trainer)]
        _uncount_what_has_not_begun(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how many rows of metrics there were."""
        if trainer.state.fn == "fit":
            self._rows = checkpoint.get("metrics_rows", [])

    def _drop_metrics(self, trainer: Trainer) -> None:
        loggers = _metrics_files(trainer)
        for logger, rows in zip(loggers, [0] * len(loggers) if self._rows is None else self._rows, strict=False):
            logger.keep_rows(rows)
        self._rows = None

    def _due(self, trainer: Trainer) -> bool:
        """Return whether a checkpoint is due; the same on all processes."""
        if self.every_n_steps is not None and trainer.global_step - self._saved_at[1] >= self.every_n_steps:
            return True
        due = time.monotonic() - self._saved_at[0] >= self.every_n_seconds
        if trainer.world_size == 1:
            return due
        self._chances += 1
        # Clocks differ, and a question to the first process makes all of them wait
        return self._chances % ASK_EVERY == 0 and bool(trainer.strategy.broadcast(due))


def _metrics_files(trainer: Trainer) -> list[MetricsCSV]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsCSV)]


def _validation_just_done(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether a resume here would count a step twice: an epoch begins, or a validation may have just ended."""
    if batch_idx == 0:
        return True
    if trainer.val_check_batch is None:  # validation by the clock, which a resumed run restarts
        return False
    over_epochs = trainer.check_val_every_n_epoch is None
    return (trainer.fit_loop.total_batch_idx if over_epochs else batch_idx) % trainer.val_check_batch == 0


def _uncount_what_has_not_begun(fit_loop: dict[str, Any]) -> None:
    """Move the saved position to between two batches or epochs, because the current one has not begun.

    Lightning counts a batch as `ready` before `on_train_batch_start`. With that, a resumed run assumes that the
    validation after the step before is still to come, and counts a step twice. Likewise it counts an epoch as `ready`
    before `on_train_epoch_start`, and a run resumed there counts one too few.
    """
    for progress in (fit_loop["epoch_progress"], fit_loop["epoch_loop.batch_progress"]):
        for count in (progress["total"], progress["current"]):
            if count["started"] == count["ready"] - 1 == count["completed"]:
                count["ready"] -= 1


def _begin_epoch_if_between_two(trainer: Trainer) -> None:
    """Let a run that was saved between two epochs begin the next one.

    Lightning does so if `max_epochs` sets the end; if `max_steps` does, it would end the last epoch a second time.
    """
    epochs = trainer.fit_loop.epoch_progress.current
    if epochs.ready == epochs.processed:  # type: ignore[attr-defined]
        trainer.fit_loop._restarting = False
        trainer.fit_loop.epoch_loop.restarting = False
