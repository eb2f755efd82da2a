"""checkpoints/last.ckpt and previous.ckpt: what `--resume` resumes from, bit for bit.

`resume.py` says what happens when a run resumes. This callback saves: weights, optimizer, schedule and position, which
Lightning knows; what the LightningModule and other callbacks add (`BestCheckpoint`, `EMA`); and how many rows of
metrics.csv there are.
"""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

from callbacks.run import saved_position
from callbacks.run.metrics_csv import MetricsCSV, Row
from callbacks.trackers.trackers import Trackers
from utils import interruption
from utils.checks import check_interval, check_positive_int
from utils.distributed import Agreement
from utils.files import flush, remove_leftovers

ROWS_KEY, LAST_ROW_KEY = "metrics_rows", "metrics_last_rows"
"""Keys of a checkpoint that hold the number of rows of each metrics.csv, and the last row of each."""

STEP_KEY = "metrics_step"
"""Key of a checkpoint that holds the first step at which more may be logged: all before are complete."""


class ResumeCheckpoint(Callback):
    """Checkpoint of the whole state of a run between two steps, from which a run resumes as if never interrupted.

    A checkpoint is written to a temporary file and renamed, and the previous one is kept as `previous.ckpt`, so there
    is an intact one at any moment. The first is written before the first step.

    It is written when a step or an epoch is about to begin. By then the last one is complete: its metrics are logged
    and its averages updated. (Lightning's own hooks at the end of a step or an epoch come before metrics are logged,
    and a run resumed from there lacks a row of its metrics.) Nothing is saved within a gradient accumulation, because
    checkpoints do not hold gradients.

    A run that is asked to stop, by SIGTERM, SIGUSR1 or Ctrl-C, saves at the next such moment, or within a validation,
    which then begins again when the run resumes. A run that `max_time` or `max_steps` ends within an epoch resumes
    within it. `max_time`, or a callback such as EarlyStopping, ends a run when a gradient accumulation is complete.

    Several processes stop and save together, whichever of them received the signal or finds that a checkpoint is due:
    at each step they agree on it, one step later than a single process would notice (`Agreement`).

    Args:
        every_n_seconds: Minimum time between two checkpoints, in seconds.
        every_n_steps: Number of optimizer steps after which a checkpoint is saved even before that time; if null, only
            time decides.
    """

    def __init__(self, every_n_seconds: float = 60.0, every_n_steps: int | None = None):
        self.every_n_seconds = check_interval("every_n_seconds", every_n_seconds)
        self.every_n_steps = None if every_n_steps is None else check_positive_int("every_n_steps", every_n_steps)
        self._saved_at = (time.monotonic(), 0)  # seconds, optimizer steps
        self._saves = 0
        self._agreement: Agreement | None = None  # on the signal, and on whether a checkpoint is due, while training
        # What the checkpoint that is being loaded says of metrics
        self._loaded: list[tuple[int, Row | None]] | None = None
        self._loaded_step = 0
        self._moment = saved_position.Moment.OTHER
        self._before_validation: tuple[int, list[tuple[int, Row]]] = (-1, [])  # batch, and metrics before it
        self._ended_within_epoch = False
        self._to_end = False  # at the end of the step, which has further batches
        self._first_step = 0  # optimizer step at which this fit began
        self.saved_step: int | None = None  # optimizer step of last.ckpt, which this fit has loaded or saved

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save into the run folder."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        if stage == "fit" and trainer.is_global_zero:
            self.folder.mkdir(exist_ok=True, parents=True)
            remove_leftovers(self.folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the interval between checkpoints; begin an epoch if the run was saved between two.

        By now the checkpoint has been restored: the metrics that were logged after it are dropped, or, if the run
        starts and is not resumed, those of an earlier start.
        """
        self._drop_metrics(trainer)
        self._saved_at = (time.monotonic(), trainer.global_step if trainer.ckpt_path else -1)
        self._first_step = trainer.global_step
        self.saved_step = trainer.global_step if trainer.ckpt_path else None
        self._agreement = Agreement(2)
        self._to_end = False
        saved_position.ask_between_steps(trainer)
        saved_position.begin_epoch_if_between_two(trainer)
        interruption.defer(True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save between two epochs if a checkpoint is due, and before the first step."""
        self._ended_within_epoch = False
        # Here and not at the epoch's first batch, by which time Lightning has reset the counts of the last epoch
        is_new = trainer.global_step > self._saved_at[1]
        stop, due = self._agree(trainer)
        if is_new and (stop or trainer.global_step == 0 or due):
            self.save(trainer, saved_position.Moment.BEFORE_EPOCH)
        if stop:
            interruption.stop(stop)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save between two steps if a checkpoint is due."""
        if batch_idx == 0 or batch_idx % trainer.accumulate_grad_batches != 0:
            return
        stop, due = self._agree(trainer)
        if stop or due:
            self.save(trainer, saved_position.Moment.BEFORE_STEP)
        if stop:
            interruption.stop(stop)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """End the run after its step if a callback has asked for it within the step."""
        if self._to_end and not saved_position.has_more_of_step(trainer):
            trainer.should_stop, self._to_end = True, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put off the end of the run, which EarlyStopping may have asked for, until its step is complete."""
        if trainer.state.fn != "fit" or not trainer.should_stop or saved_position.is_validation_early(trainer):
            return
        if saved_position.has_more_of_step(trainer):
            trainer.should_stop, self._to_end = False, True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record which metrics exist before a validation that may run only because the run ends."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._before_validation = (trainer.fit_loop.total_batch_idx, _metrics_so_far(trainer))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save within a validation if the run must stop, so that the validation begins again when it resumes."""
        if self._agreement is None:
            return
        stop, _ = self._agree(trainer)  # `utils.distributed.deal` gives all processes equally many batches
        if not stop or not saved_position.can_repeat_validation(trainer):
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):  # the raw weights go back into their place
                callback.on_validation_epoch_end(trainer, pl_module)
        self.save(trainer, saved_position.Moment.IN_VALIDATION)
        interruption.stop(stop)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save within an epoch that ends too early, by `max_time` or `max_steps`, as if it were still in progress."""
        if saved_position.is_epoch_complete(trainer):
            return
        self._ended_within_epoch = True
        if not saved_position.is_within_accumulation(trainer):
            self.save(trainer, saved_position.Moment.EPOCH_CUT_SHORT)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of training."""
        if self._agreement is not None:
            self._agreement.close()
            self._agreement = None
        if not self._ended_within_epoch:
            self.save(trainer)
        elif saved_position.has_made_all_steps(trainer):
            # The run is over, so the metrics are sent; if `max_steps` is raised, W&B keeps them beside what follows
            _tell_trackers(trainer, _metrics_so_far(trainer), before=_next_step(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let signals end the program at once again: Lightning calls no `teardown` after an exception."""
        self._agreement = None
        interruption.defer(False)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let signals end the program at once again."""
        if stage == "fit":
            interruption.defer(False)

    def save(self, trainer: Trainer, moment: "saved_position.Moment | None" = None) -> None:
        """Write `last.ckpt`, and keep the one before as `previous.ckpt`.

        Args:
            trainer: The Trainer.
            moment: Where in the loops the run is.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # which turns Lightning's checkpoints off too
            return
        self._moment = moment or saved_position.Moment.OTHER
        for logger in trainer.loggers:
            logger.save()  # what the checkpoint covers must be on the disk first
        last, previous, new = (self.folder / name for name in ("last.ckpt", "previous.ckpt", "last.ckpt.tmp"))
        trainer.save_checkpoint(new, weights_only=False)
        if trainer.is_global_zero:
            if last.is_file():
                _keep(last, previous)
            new.replace(last)
            flush(self.folder)
        more_to_come = saved_position.has_made_all_steps(trainer)  # see on_train_end
        before = self._complete_before(trainer) if more_to_come else _next_step(trainer)
        _tell_trackers(trainer, self._metrics_to_keep(trainer), before)
        self._moment = saved_position.Moment.OTHER
        self._saved_at = (time.monotonic(), trainer.global_step)
        self._saves += 1
        self.saved_step = trainer.global_step

    def saved_steps(self, trainer: Trainer) -> int | None:
        """Return how many optimizer steps this fit has made, if the last one is saved; None if it is not."""
        return trainer.global_step - self._first_step if self.saved_step == trainer.global_step else None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the number of rows of metrics so far, and move the position to between two batches or epochs."""
        rows = self._metrics_to_keep(trainer)
        checkpoint[ROWS_KEY], checkpoint[LAST_ROW_KEY] = [count for count, _ in rows], [last for _, last in rows]
        checkpoint[STEP_KEY] = self._complete_before(trainer)
        saved_position.correct(checkpoint["loops"]["fit_loop"], self._moment, trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Record how many rows of metrics there were."""
        if trainer.state.fn == "fit":
            counts = checkpoint.get(ROWS_KEY, [])
            self._loaded_step = checkpoint.get(STEP_KEY, checkpoint["global_step"])
            self._loaded = list(zip(counts, checkpoint.get(LAST_ROW_KEY) or [None] * len(counts), strict=False))

    def _metrics_to_keep(self, trainer: Trainer) -> list[tuple[int, Row]]:
        """Return what a resumed run keeps of each metrics.csv: the number of rows, and the last one."""
        cut_short = self._moment is saved_position.Moment.EPOCH_CUT_SHORT
        if cut_short and saved_position.was_validation_early(trainer, self._before_validation[0]):
            return self._before_validation[1]
        return _metrics_so_far(trainer)

    def _complete_before(self, trainer: Trainer) -> int:
        """Return the first step at which more may be logged after the checkpoint.

        Lightning logs the metrics of an epoch that it cuts short at the last step, after the checkpoint.
        """
        return _next_step(trainer) - (self._moment is saved_position.Moment.EPOCH_CUT_SHORT)

    def _drop_metrics(self, trainer: Trainer) -> None:
        loggers = _metrics_files(trainer)
        nothing: list[tuple[int, Row | None]] = [(0, None) for _ in loggers]
        for logger, (count, last) in zip(loggers, nothing if self._loaded is None else self._loaded, strict=False):
            logger.keep_rows(count, last)
        for callback in _trackers(trainer):
            callback.resumed(trainer, before=0 if self._loaded is None else self._loaded_step)
        self._loaded = None

    def _agree(self, trainer: Trainer) -> tuple[int | None, bool]:
        """Return the signal that has asked any process to stop, if one has, and whether a checkpoint is due.

        The answer is the same on all processes, each of which must call this.
        """
        assert self._agreement is not None
        due_here = time.monotonic() - self._saved_at[0] >= self.every_n_seconds
        # The number of the checkpoint that is due: an answer may come after it has been saved
        urgency = interruption.urgency(interruption.requested())
        urgency, due = self._agreement.largest(urgency, self._saves + 1 if due_here else 0)
        due_by_steps = self.every_n_steps is not None and trainer.global_step - self._saved_at[1] >= self.every_n_steps
        return interruption.of_urgency(urgency), due > self._saves or due_by_steps


def _keep(last: Path, previous: Path) -> None:
    """Give a checkpoint a second name, so that it exists until the new one has replaced it."""
    spare = previous.with_name("previous.ckpt.tmp")
    spare.unlink(missing_ok=True)
    try:
        if last.is_symlink():  # a second link would lead to the same place
            raise OSError
        os.link(last, spare)
    except OSError:  # a file system without hard links: for a moment, only `previous.ckpt` exists
        last.replace(previous)
    else:
        spare.replace(previous)
    flush(previous.parent)


def _trackers(trainer: Trainer) -> list[Trackers]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Trackers)]  # type: ignore[attr-defined]


def _tell_trackers(trainer: Trainer, metrics: list[tuple[int, Row]], before: int) -> None:
    """Have the trackers send the metrics before a step, given the number of rows of metrics.csv and the last row."""
    files = _metrics_files(trainer)
    count, last = metrics[0] if metrics else (0, {})
    rows = [*files[0].rows[: count - 1], last] if count else []
    for callback in _trackers(trainer):
        callback.covered(trainer, rows, before)


def _next_step(trainer: Trainer) -> int:
    """Return the step at which the next batch is logged, or the current one if more may be logged at it."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def _metrics_files(trainer: Trainer) -> list[MetricsCSV]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsCSV)]


def _metrics_so_far(trainer: Trainer) -> list[tuple[int, Row]]:
    """Return the number of rows of each metrics.csv, and its last row, to which values may still be added."""
    return [(len(logger.rows), dict(logger.rows[-1]) if logger.rows else {}) for logger in _metrics_files(trainer)]
