"""What W&B and TensorBoard receive of a training run, beyond what the model logs."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor
from torch.optim import Optimizer

from callbacks.run.metrics_csv import MetricsCSV, Row
from callbacks.run.saved_position import has_more_of_step, is_finished
from callbacks.run.scores import validation_scores
from callbacks.trackers import tensorboard
from callbacks.trackers.images import NewImages
from callbacks.trackers.wandb_run import WandbRun
from utils.contracts import ShowsTraining


class Trackers(Callback):
    """The resolved config, loss and rate per step, best and last scores, and the plots, for `WandbRun` and TensorBoard.

    `train/loss_step` and `lr_step` are logged every `log_every_n_steps` steps, also to `metrics.csv`, which both
    mirror: `ResumeCheckpoint` tells this callback what a checkpoint covers, and what a resumed run has dropped. W&B
    gets the rows that a checkpoint covers; TensorBoard gets everything at once, and forgets what is dropped.

    Without a tracker among the loggers, the callback does nothing.

    Args:
        config: The resolved config as plain values.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self._images: NewImages | None = None  # for TensorBoard
        self._rate = 0.0  # of the current step
        self._trains = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start or continue the run of each tracker, with its config.

        Raises:
            ValueError: There is a tracker, but no `metrics.csv`.
        """
        self._trains = False
        trackers = trackers_of(trainer)
        if trackers and not _has_metrics_csv(trainer):
            names = ", ".join(type(tracker).__name__ for tracker in trackers)
            raise ValueError(f"trainer.logger has {names} without MetricsCSV, which it mirrors; add both to `logger+:`")
        if not trainer.is_global_zero:
            return
        self._images = NewImages(Path(trainer.default_root_dir))
        for tracker in trackers:
            if isinstance(tracker, WandbRun):
                tracker.start(self.config)
            elif isinstance(tracker, TensorBoardLogger):
                text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
                tracker.experiment.add_text("config", f"```yaml\n{text}```")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Record the rate of a step: at the end of its batch the schedule has already set that of the next."""
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Log loss and rate of a step; the loggers save them with the next checkpoint or metrics of the model."""
        step, every = trainer.fit_loop.epoch_loop._batches_that_stepped, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.is_global_zero or not every or (step + 1) % every:
            return
        if not trackers_of(trainer) or has_more_of_step(trainer):
            return
        latest = pl_module.latest if isinstance(pl_module, ShowsTraining) else trainer.callback_metrics
        name = next((each for each in ("train/loss", *latest) if each in latest and each.startswith("train/")), None)
        loss = None if name is None else latest[name]
        values = {f"{name}_step": float(loss)} if isinstance(loss, Tensor) else {}
        values["lr_step"] = self._rate
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **values}, step=step)

    def resumed(self, trainer: Trainer, before: int) -> None:
        """Have TensorBoard forget what was logged after the checkpoint that the run resumes from.

        Args:
            trainer: The Trainer, whose `metrics.csv` is as at the checkpoint.
            before: The first step that the checkpoint does not cover.
        """
        self._trains = True
        if trainer.is_global_zero:
            for tracker in trackers_of(trainer):
                if isinstance(tracker, TensorBoardLogger):
                    tensorboard.start_again(tracker, _rows(trainer), before)

    def covered(self, trainer: Trainer, rows: list[Row], before: int) -> None:
        """Send what a checkpoint that has just been saved covers.

        Args:
            trainer: The Trainer.
            rows: Those of `metrics.csv` that a run has when it resumes from the checkpoint.
            before: The first step that the checkpoint does not cover.
        """
        if not trainer.is_global_zero or not trackers_of(trainer):
            return
        for tracker in trackers_of(trainer):
            if isinstance(tracker, WandbRun):
                tracker.send(rows, before, _scores(trainer))
        self._images_to_tensorboard(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send what a tracker missed because it failed, if the run had already ended before this fit."""
        if not self._trains and is_finished(trainer) and trainer.is_global_zero and trackers_of(trainer):
            self.covered(trainer, _rows(trainer), before=_last_step(trainer) + 1)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give TensorBoard the last plots and, beside the config, the scores; `WandbRun` gets them as it ends."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        self._images_to_tensorboard(trainer)
        for tracker in trackers_of(trainer):
            if isinstance(tracker, TensorBoardLogger) and (scores := _scores(trainer)):
                tracker.log_hyperparams(self.config, scores, _last_step(trainer))

    def _images_to_tensorboard(self, trainer: Trainer) -> None:
        loggers = [tracker for tracker in trackers_of(trainer) if isinstance(tracker, TensorBoardLogger)]
        if loggers and self._images is not None:
            images = self._images.take()
            for logger in loggers:
                tensorboard.log_images(logger, images, _last_step(trainer))


def trackers_of(trainer: Trainer) -> list[Logger]:
    """Return the loggers of a trainer that this callback serves."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbRun | TensorBoardLogger)]


def _has_metrics_csv(trainer: Trainer) -> bool:
    return any(isinstance(logger, MetricsCSV) for logger in trainer.loggers)


def _rows(trainer: Trainer) -> list[Row]:
    file = next(logger for logger in trainer.loggers if isinstance(logger, MetricsCSV))
    file.load()
    return file.rows


def _last_step(trainer: Trainer) -> int:
    rows = _rows(trainer)
    return int(rows[-1]["step"] or 0) if rows else 0


def _scores(trainer: Trainer) -> dict[str, float]:
    """Return the last and the best value of each validation metric, such as `best/val/accuracy`."""
    path = Path(trainer.default_root_dir) / "metrics.csv"
    scores = validation_scores(path) if path.is_file() else {}
    named = [(f"best/{name}", score.best) for name, score in scores.items()]
    return dict([*named, *((f"last/{name}", score.last) for name, score in scores.items())])
