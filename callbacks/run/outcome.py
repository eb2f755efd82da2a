"""Closing lines of a run: why it stopped early, its best score, and commands that resume it or use its weights."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from callbacks.pace import format_duration
from callbacks.plots.metric_lines import read_columns
from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.saved_position import is_out_of_time
from callbacks.run.summary import Summary
from callbacks.trackers.wandb_run import WandbRun
from utils.interruption import Interrupted

C = TypeVar("C", bound=Callback)


def outcome(trainer: Trainer) -> list[str]:
    """Return the closing lines of a training run: why it stopped early, if it did, then its best score and its time."""
    reason = early_stop_reason(trainer)
    return [*([f"stopped early: {reason}"] if reason else []), best_so_far(trainer)]


def interrupted_outcome(trainer: Trainer, interrupted: Interrupted, resume: str) -> list[str]:
    """Return the closing lines of a training run that was stopped: where it is, its best score, and how it goes on.

    Args:
        trainer: The trainer, whose run folder has a checkpoint.
        interrupted: What stopped it.
        resume: The command that resumes it.
    """
    where = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
    kept = "last.ckpt is saved" if interrupted.saved_steps is not None else "last.ckpt is older"
    said = [f"\nstopped by {interrupted} at {where}; {kept}", best_so_far(trainer), *tracked(trainer)]
    return [*said, f"resume:  {resume}"]


def tracked(trainer: Trainer) -> list[str]:
    """Return where W&B shows the run, if it does."""
    return [f"W&B: {logger.where}" for logger in trainer.loggers if isinstance(logger, WandbRun)]


def uses(model: LightningModule, checkpoint: str) -> list[str]:
    """Return the commands with which a user can try out a checkpoint."""
    at_hand = {"ImageClassifier": "classify --ckpt_path {} IMAGE", "TextSeq2Seq": "translate --ckpt_path {} TEXT"}
    commands = [at_hand.get(type(model).__name__, ""), "predict --ckpt_path {} --data.predict_path PATH"]
    return [f"  oneforall {command}".format(shlex.quote(checkpoint)) for command in filter(None, commands)]


def early_stop_reason(trainer: Trainer) -> str:
    """Return why `EarlyStopping` has ended training, now or before it was resumed; empty if it has not."""
    if not trainer.should_stop or is_out_of_time(trainer):
        return ""
    reasons = [callback.stopping_reason_message or "" for callback in _of_class(trainer, EarlyStopping)]
    return next(filter(None, reasons), "").removesuffix(" Signaling Trainer to stop.")


def best_so_far(trainer: Trainer) -> str:
    """Return a line such as `best val/accuracy 0.9722 after epoch 7, 12:34`, with the training time so far.

    The epoch is that of `metrics.csv`, in which validations within an epoch have fractional epochs; it is left out if
    there is no such file. Without a best score, the line has only the time.
    """
    seconds = [summary.times.now().seconds for summary in _of_class(trainer, Summary)]
    time = format_duration(seconds[0]) if seconds else ""
    for checkpoint in _of_class(trainer, BestCheckpoint):
        if checkpoint.best_model_score is not None:
            score = float(checkpoint.best_model_score)
            after = _epoch_of(str(checkpoint.monitor), score, Path(trainer.default_root_dir) / "metrics.csv")
            return ", ".join(filter(None, [f"best {checkpoint.monitor} {score:.4g}{after}", time]))
    return f"trained {time}".rstrip()


def _epoch_of(metric: str, score: float, metrics_csv: Path) -> str:
    """Return ` after epoch 7` for the first epoch with a score; empty if the file does not have it."""
    if not metrics_csv.is_file():
        return ""
    epochs, values = read_columns(metrics_csv).get(metric, ([], []))
    return f" after epoch {epochs[values.index(score)]:.4g}" if score in values else ""


def _of_class(trainer: Trainer, cls: type[C]) -> list[C]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, cls)]
