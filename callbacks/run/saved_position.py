"""Position of a run in its checkpoint: Lightning's loop counts, corrected so that it resumes exactly there."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer


class Moment(Enum):
    """Where in Lightning's loops a checkpoint is written."""

    BEFORE_STEP = auto()
    """When a batch that is not the first of its epoch is about to begin."""

    BEFORE_EPOCH = auto()
    """When an epoch is about to begin."""

    IN_VALIDATION = auto()
    """Within a validation, which has to begin again."""

    EPOCH_CUT_SHORT = auto()
    """When Lightning ends an epoch before its last batch."""

    OTHER = auto()
    """Anywhere else: the counts are right as they are."""


def correct(fit_loop: dict[str, Any], moment: Moment, trainer: Trainer) -> None:
    """Correct the state of the loops in a checkpoint.

    Args:
        fit_loop: The state, changed in place.
        moment: Where the checkpoint is written.
        trainer: The Trainer at that moment.
    """
    _count_validation_as_done(fit_loop)
    if moment in (Moment.BEFORE_STEP, Moment.BEFORE_EPOCH):
        _uncount_what_has_not_begun(fit_loop)
    if moment is Moment.IN_VALIDATION:
        _uncount_validation(fit_loop)
    if moment is Moment.EPOCH_CUT_SHORT:
        for count in fit_loop["epoch_progress"].values():
            count["processed"] -= 1
    if moment in (Moment.BEFORE_STEP, Moment.EPOCH_CUT_SHORT) and _is_at_validation(trainer, _batches_done(fit_loop)):
        # A run resumed here skips the validation, and counts the step before it once more
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def begin_epoch_if_between_two(trainer: Trainer) -> None:
    """Let a run that was saved between two epochs begin the next one.

    Lightning does so if `max_epochs` sets the end; if `max_steps` does, it would end the last epoch a second time.
    """
    epochs = trainer.fit_loop.epoch_progress.current
    if epochs.ready == epochs.processed:  # type: ignore[attr-defined]
        trainer.fit_loop._restarting = False
        trainer.fit_loop.epoch_loop.restarting = False


def is_epoch_complete(trainer: Trainer) -> bool:
    """Return whether the epoch that Lightning is ending has had all of its batches."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.completed >= trainer.num_training_batches


def is_within_accumulation(trainer: Trainer) -> bool:
    """Return whether gradients of the last batch wait for those of the next."""
    done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return not is_epoch_complete(trainer) and done % trainer.accumulate_grad_batches != 0


def has_more_of_step(trainer: Trainer) -> bool:
    """Return whether the current batch is not the last of its optimizer step."""
    return trainer.fit_loop.epoch_loop._should_accumulate()


def ask_between_steps(trainer: Trainer) -> None:
    """Have `max_time` end training only at the last batch of a step, where a run can be saved."""

    def between_steps(ask: Callable[..., None]) -> Callable[..., None]:
        return lambda *arguments: None if has_more_of_step(trainer) else ask(*arguments)

    for timer in _timers(trainer):
        timer.on_train_batch_end = between_steps(timer.on_train_batch_end)  # type: ignore[method-assign]


def has_made_all_steps(trainer: Trainer) -> bool:
    """Return whether `max_steps` ends training: a resumed run would have nothing to do."""
    return 0 <= trainer.max_steps <= trainer.global_step


def time_left(trainer: Trainer) -> float | None:
    """Return the seconds until `max_time` ends training; None without it."""
    left = [seconds for timer in _timers(trainer) if (seconds := timer.time_remaining()) is not None]
    return max(0.0, min(left)) if left else None


def _timers(trainer: Trainer) -> list[Timer]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]


def is_out_of_time(trainer: Trainer) -> bool:
    """Return whether `max_time` ends training."""
    return time_left(trainer) == 0


def is_finished(trainer: Trainer) -> bool:
    """Return whether training has ended for good: a resumed run would have nothing to do."""
    epochs, last = trainer.fit_loop.epoch_progress.current.processed, trainer.max_epochs  # type: ignore[attr-defined]
    has_made_all_epochs = last is not None and 0 <= last <= epochs
    return has_made_all_epochs or has_made_all_steps(trainer) or (trainer.should_stop and not is_out_of_time(trainer))


def can_repeat_validation(trainer: Trainer) -> bool:
    """Return whether a run that is saved within the current validation will begin with that validation."""
    if trainer.state.fn != "fit" or trainer.should_stop or is_within_accumulation(trainer):
        return False
    if has_made_all_steps(trainer):  # the resumed run would be at its end
        return False
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return _is_at_validation(trainer, progress.current.completed, is_last=progress.is_last_batch)


def is_validation_early(trainer: Trainer) -> bool:
    """Return whether the current validation of a fit runs only because the run ends."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    at_validation = _is_at_validation(trainer, progress.current.completed, is_last=progress.is_last_batch)
    by_clock = trainer.val_check_batch is None
    return trainer.state.fn == "fit" and trainer.should_stop and not at_validation and not by_clock


def was_validation_early(trainer: Trainer, batch: int) -> bool:
    """Return whether the last batch was followed by a validation only because the run ends.

    Args:
        trainer: The Trainer at the end of the epoch.
        batch: The batch after which the last validation ran, counted over all epochs.
    """
    done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
    return batch == trainer.fit_loop.total_batch_idx and not _is_at_validation(trainer, done)


def _batches_done(fit_loop: dict[str, Any]) -> int:
    return int(fit_loop["epoch_loop.batch_progress"]["current"]["completed"])


def _is_at_validation(trainer: Trainer, batches: int, is_last: bool = False) -> bool:
    """Return whether a validation is due, by the batch count, after a number of batches of the current epoch."""
    interval = trainer.val_check_batch
    if interval is None or not trainer.fit_loop.epoch_loop._should_check_val_epoch():
        return False  # by the clock, which a resumed run restarts, or in other epochs
    if interval == float("inf"):
        return is_last
    if trainer.check_val_every_n_epoch is None:  # counted over epochs
        batches = trainer.fit_loop.epoch_loop.batch_progress.total.completed
    return batches % interval == 0


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
    fit_loop["epoch_loop.batch_progress"]["is_last_batch"] = False  # true if the batch that has not begun is


def _count_validation_as_done(fit_loop: dict[str, Any]) -> None:
    """Mark the saved validation as done: once a run has resumed one and ended it, the counts say to resume it again."""
    for count in (fit_loop["epoch_loop.val_loop.batch_progress"][each] for each in ("total", "current")):
        count.update(dict.fromkeys(count, count["completed"]))


def _uncount_validation(fit_loop: dict[str, Any]) -> None:
    """Put the saved validation within its first batch, so that Lightning runs it from the beginning."""
    progress = fit_loop["epoch_loop.val_loop.batch_progress"]
    progress["is_last_batch"] = False
    for count in (progress["total"], progress["current"]):
        count.update(ready=1, started=1, processed=0, completed=0)
