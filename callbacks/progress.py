"""Progress of a run: one line per epoch and, within an epoch, a bar in a terminal or plain lines elsewhere.

What the line of an epoch says is in `epoch_line.py`, throughput and time left are in `pace.py`.
"""

import os
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from lightning.pytorch.utilities.types import STEP_OUTPUT
from rich.progress import ProgressColumn, Task
from rich.style import Style
from rich.text import Text

from callbacks.epoch_line import EpochLine, format_epoch, format_step
from callbacks.log_stream import log_to_current_stderr
from callbacks.pace import Clock, Pace, fit_batches, format_throughput, format_time_left
from callbacks.run.saved_position import time_left
from callbacks.throttle import Throttle
from utils.batches import count_examples
from utils.checks import check_interval
from utils.contracts import HasUnit, ShowsTraining


class PacedProgress(ProgressBar):
    """Progress bar that prints a line per epoch and keeps the pace of each stage.

    `paces` has `train`, `validate`, `test` and `predict`. The line is that of `EpochLine`, printed when the next epoch
    begins or training ends: only then does Lightning have the epoch's training metrics.
    """

    clock: Clock = staticmethod(time.monotonic)
    unit = "examples"
    _ended: EpochLine | None = None  # whose line is still to be printed
    _began = 0.0  # time at which the epoch, or the part of it that this run has trained, began
    _validated = False  # in this epoch

    @property
    @abstractmethod
    def is_enabled(self) -> bool:
        """Whether this process shows anything."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the name of the examples from the module."""
        super().setup(trainer, pl_module, stage)
        self.unit = pl_module.unit if isinstance(pl_module, HasUnit) else "examples"
        self.paces: dict[str, Pace] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the metrics to show, those of the last training batch first, without the loggers' version number."""
        latest = pl_module.latest if trainer.state.fn == "fit" and isinstance(pl_module, ShowsTraining) else {}
        metrics: dict[str, Any] = {name: value.item() for name, value in latest.items()}
        metrics.update((k, v) for k, v in super().get_metrics(trainer, pl_module).items() if k not in latest)
        metrics.pop("v_num", None)
        return metrics

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the pace of training."""
        self.paces["train"] = Pace(self.clock)
        super().on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the previous epoch; leave the time between epochs out of the throughput."""
        self._print_ended(trainer, pl_module)
        self._began, self._validated = self.clock(), False
        self.paces["train"].skip()
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record what is known only when the epoch ends."""
        super().on_train_epoch_end(trainer, pl_module)
        if self.is_enabled:
            self._ended = EpochLine(trainer, self._validated, self.clock() - self._began)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the last epoch."""
        self._print_ended(trainer, pl_module)
        super().on_train_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Print the line of an epoch after which training was stopped."""
        self._print_ended(trainer, pl_module)
        super().on_exception(trainer, pl_module, exception)

    def _print_ended(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._ended is not None:
            ended, self._ended = self._ended, None
            self.print_line(*ended.parts(trainer, pl_module), *self._after_epoch())

    def _after_epoch(self) -> tuple[str, ...]:
        """Return what an epoch's line ends with."""
        return ()

    def print_line(self, *parts: str) -> None:
        """Print a line that stays: above the bar, if there is one."""
        print("  ".join(part for part in parts if part), flush=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Record a training batch."""
        done, total = fit_batches(trainer, batch_idx)
        self.paces["train"].batch(count_examples(batch) * trainer.world_size, done, total)
        self.paces["train"].at_most = time_left(trainer)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the pace of a validation."""
        self.paces["validate"] = Pace(self.clock)
        super().on_validation_start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Record a validation batch."""
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        self._batch("validate", trainer, batch, batch_idx, dataloader_idx, batches)
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the time of a validation out of the training throughput."""
        self._validated = not trainer.sanity_checking
        if "train" in self.paces:
            self.paces["train"].skip()
        super().on_validation_end(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the pace of a test."""
        self.paces["test"] = Pace(self.clock)
        super().on_test_start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Record a test batch."""
        self._batch("test", trainer, batch, batch_idx, dataloader_idx, trainer.num_test_batches)
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the pace of a prediction."""
        self.paces["predict"] = Pace(self.clock)
        super().on_predict_start(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Record a predicted batch."""
        self._batch("predict", trainer, batch, batch_idx, dataloader_idx, trainer.num_predict_batches)
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def _batch(
        self,
        stage: str,
        trainer: Trainer,
        batch: object,
        batch_idx: int,
        dataloader_idx: int,
        batches: Sequence[int | float],
    ) -> None:
        """Record a batch of an evaluation, given the number of batches of each of its loaders."""
        done = int(sum(batches[:dataloader_idx])) + batch_idx + 1
        self.paces[stage].batch(count_examples(batch) * trainer.world_size, done, sum(batches))


class RichProgress(PacedProgress, RichProgressBar):
    """Rich progress bar with the throughput and the remaining time; within a fit, that of the whole fit.

    The throughput counts what the module's `unit` names ("images"), or "examples". The bar is removed when the stage
    ends; only a line per epoch stays.

    Args:
        refresh_rate: Number of times that the bar is redrawn per second.
        leave: Whether the finished bar of each epoch stays on the screen.
    """

    def __init__(self, refresh_rate: int = 10, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._metrics_throttle = Throttle(0.5)
        self._logging_above = ExitStack()

    @property
    def is_enabled(self) -> bool:
        """Whether this process shows a bar."""
        return self._enabled and self.refresh_rate > 0

    def pace_of(self, task: Task) -> Pace | None:
        """Return the pace of the stage that a bar shows."""
        bars = {
            self.train_progress_bar_id: "train",
            self.val_sanity_progress_bar_id: "validate",
            self.val_progress_bar_id: "validate",
            self.test_progress_bar_id: "test",
            self.predict_progress_bar_id: "predict",
        }
        return self.paces.get(bars.get(task.id, ""))

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Return Lightning's first columns, then throughput and remaining time in place of its own."""
        description, bar, batches, *_ = super().configure_columns(trainer)
        throughput = _PaceColumn(self, lambda pace: format_throughput(pace, self.unit), self.theme.processing_speed)
        time_left = _PaceColumn(self, format_time_left, self.theme.time)
        return [description, bar, batches, throughput, time_left]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the metrics to show beside the bar: the scores of a validation are in the line of its epoch."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if not name.startswith("val/")}

    def _init_progress(self, trainer: Trainer) -> None:
        before = self.progress
        super()._init_progress(trainer)
        if self.progress is not None and self.progress is not before:
            self.progress.live.transient = not self._leave
            self._logging_above.enter_context(log_to_current_stderr())

    def _stop_progress(self) -> None:
        super()._stop_progress()
        self._logging_above.close()

    def _update_metrics(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Reading a metric waits for the GPU, so it is not done at every batch
        if self.is_enabled and self._metrics_throttle.due():
            super()._update_metrics(trainer, pl_module)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'Epoch ' + format_epoch(self.trainer, current_epoch):{len(self.validation_description)}}"


class _PaceColumn(ProgressColumn):
    """Column with the throughput or the remaining time of the stage that a bar shows."""

    def __init__(self, bar: RichProgress, text_of: Callable[[Pace], str], style: str | Style) -> None:
        super().__init__()
        self._bar, self._text_of, self._style = bar, text_of, style

    def render(self, task: Task) -> Text:
        pace = self._bar.pace_of(task)
        return Text(self._text_of(pace) if pace else "", style=self._style)


class PlainProgress(PacedProgress):
    """Progress as plain lines for output that is not a terminal: one per epoch, and others within long epochs.

    `epoch 3/20  train/loss 1.234  val/loss 0.98  val/accuracy 0.7101  0:42  460 images/s  12:34 left` ends an epoch;
    the remaining time is that of the whole fit. After the first batch, and then whenever nothing was printed for a
    while, there is a line such as `step 120/980 of epoch 3/20  12%  train/loss 1.234  460 images/s  12:34 left`: steps
    are batches, and metrics are those logged with `prog_bar=True`. Only the first process prints.

    Args:
        every_n_seconds: Minimum time since the last line before another is printed within an epoch, in seconds.
    """

    def __init__(self, every_n_seconds: float = 30.0) -> None:
        super().__init__()
        self._enabled = True
        self.every_n_seconds = check_interval("every_n_seconds", every_n_seconds)

    @property
    def is_enabled(self) -> bool:
        """Whether this process prints."""
        return self._enabled

    def enable(self) -> None:
        """Let this process print."""
        self._enabled = True

    def disable(self) -> None:
        """Keep this process from printing."""
        self._enabled = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restart the interval between lines."""
        super().setup(trainer, pl_module, stage)
        self._throttle = Throttle(self.every_n_seconds, self.clock)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Record a training batch, and print a line if one is due."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._enabled and self._throttle.due():
            self._print_fit(trainer, pl_module, batch_idx + 1)

    def _print_ended(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._ended is not None:
            self._throttle.restart()
        super()._print_ended(trainer, pl_module)

    def _after_epoch(self) -> tuple[str, ...]:
        return self._format_pace("train")

    def _batch(
        self,
        stage: str,
        trainer: Trainer,
        batch: object,
        batch_idx: int,
        dataloader_idx: int,
        batches: Sequence[int | float],
    ) -> None:
        """Record a batch of an evaluation; print a line if one is due, and at the end if it is not part of a fit."""
        super()._batch(stage, trainer, batch, batch_idx, dataloader_idx, batches)
        last = dataloader_idx == len(batches) - 1 and batch_idx + 1 == batches[-1] and trainer.state.fn != "fit"
        if self._enabled and not trainer.sanity_checking and (self._throttle.due() or last):
            step = format_step(batch_idx + 1, batches[dataloader_idx])
            loader = [f"loader {dataloader_idx + 1}/{len(batches)}"] if len(batches) > 1 else []
            self.print_line(stage, *loader, step, *self._format_pace(stage))

    def _print_fit(self, trainer: Trainer, pl_module: LightningModule, done: int) -> None:
        metrics = [f"{name} {float(value):.4g}" for name, value in self.get_metrics(trainer, pl_module).items()]
        step, *percent = format_step(done, trainer.num_training_batches).split("  ")
        place = f"{step} of epoch {format_epoch(trainer, trainer.current_epoch)}"
        self.print_line(place, *percent, *metrics, *self._format_pace("train"))

    def _format_pace(self, stage: str) -> tuple[str, str]:
        pace = self.paces[stage]
        return format_throughput(pace, self.unit), format_time_left(pace)


def default_progress() -> ProgressBar:
    """Return a bar if standard output is a terminal that can redraw a line, else plain lines."""
    draws = sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")  # as rich decides
    return RichProgress() if draws else PlainProgress()
