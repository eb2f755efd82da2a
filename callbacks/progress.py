"""How fast a run goes and how long it still takes: a bar in a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from rich.progress import ProgressColumn, Task
from rich.text import Text

from callbacks.throttle import Throttle
from utils.batches import count_examples
from utils.contracts import HasUnit

Clock = Callable[[], float]


class Pace:
    """Examples a second, smoothed, and the seconds left, of one stage.

    The rate is a mean over the recent past, each batch's weight halving every `half_life` seconds. The time left
    follows from the whole stage (validation in between is part of it), from its first batch on, which is often slow
    and not counted.

    Args:
        clock: Seconds since any fixed moment.
        half_life: How fast the rate forgets, seconds.
    """

    def __init__(self, clock: Clock = time.monotonic, half_life: float = 10.0) -> None:
        self._clock = clock
        self._half_life = half_life
        self._examples = 0.0
        self._seconds = 0.0
        self._last = clock()
        self._first: tuple[float, int] | None = None
        self._done = 0
        self._total = math.inf

    def skip(self) -> None:
        """What has passed since the last batch was not spent on batches (it was a validation)."""
        self._last = self._clock()

    def batch(self, examples: int, done: int, total: float) -> None:
        """A batch has ended.

        Args:
            examples: How many it held, over all processes.
            done: Batches done so far, those of earlier sessions of a resumed run included.
            total: Batches in all; infinity where unknown.
        """
        now = self._clock()
        passed, self._last = now - self._last, now
        keep = 0.5 ** (passed / self._half_life)
        self._examples = self._examples * keep + examples
        self._seconds = self._seconds * keep + passed
        self._done, self._total = done, total
        if self._first is None:
            self._first = (now, done)

    @property
    def examples_per_second(self) -> float | None:
        """None before the first batch."""
        return self._examples / self._seconds if self._seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """None where the total is unknown or fewer than two batches are done."""
        if self._first is None or not math.isfinite(self._total) or self._done <= self._first[1]:
            return None
        per_batch = (self._last - self._first[0]) / (self._done - self._first[1])
        return max(0.0, (self._total - self._done) * per_batch)


class PacedProgress(ProgressBar):
    """Keeps the pace of each stage for a progress bar; `paces` holds one for `train`, `validate`, `test`, `predict`."""

    clock: Clock = staticmethod(time.monotonic)
    unit = "examples"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.unit = pl_module.unit if isinstance(pl_module, HasUnit) else "examples"
        self.paces: dict[str, Pace] = {}

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Any:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.paces["train"] = Pace(self.clock)
        super().on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.paces["train"].skip()
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done, total = fit_batches(trainer, batch_idx)
        self.paces["train"].batch(count_examples(batch) * trainer.world_size, done, total)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.paces["validate"] = Pace(self.clock)
        super().on_validation_start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        self._batch("validate", trainer, batch, batch_idx, dataloader_idx, batches)
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if "train" in self.paces:
            self.paces["train"].skip()
        super().on_validation_end(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.paces["test"] = Pace(self.clock)
        super().on_test_start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._batch("test", trainer, batch, batch_idx, dataloader_idx, trainer.num_test_batches)
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.paces["predict"] = Pace(self.clock)
        super().on_predict_start(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._batch("predict", trainer, batch, batch_idx, dataloader_idx, trainer.num_predict_batches)
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def _batch(self, stage: str, trainer: Trainer, batch: Any, batch_idx: int, loader: int, batches: Any) -> None:
        earlier, all_batches = sum(batches[:loader]), sum(batches)
        examples = count_examples(batch) * trainer.world_size
        self.paces[stage].batch(examples, int(earlier) + batch_idx + 1, all_batches)


class RichProgress(PacedProgress, RichProgressBar):
    """A rich bar with examples a second and the time left; in a fit that of the whole fit, not of the epoch.

    The rate's unit is the module's `unit` ("images"), or "examples".

    Args:
        refresh_rate: Redrawings a second.
        leave: Keep the finished bar of each epoch.
    """

    def __init__(self, refresh_rate: int = 10, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._metrics_throttle = Throttle(0.5)

    def pace_of(self, task: Task) -> Pace | None:
        """The pace of the stage that a bar shows."""
        bars = {
            self.train_progress_bar_id: "train",
            self.val_sanity_progress_bar_id: "validate",
            self.val_progress_bar_id: "validate",
            self.test_progress_bar_id: "test",
            self.predict_progress_bar_id: "predict",
        }
        return self.paces.get(bars.get(task.id, ""))

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        description, bar, batches, *_ = super().configure_columns(trainer)
        return [description, bar, batches, _RateColumn(self), _TimeLeftColumn(self)]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._metrics_throttle = Throttle(0.5)  # the epoch's own values are always shown
        super().on_train_epoch_end(trainer, pl_module)

    def _update_metrics(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Reading a metric waits for the GPU: not at every batch
        if self.is_enabled and self._metrics_throttle.due():
            super()._update_metrics(trainer, pl_module)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'Epoch ' + epoch_of(self.trainer, current_epoch):{len(self.validation_description)}}"


class _RateColumn(ProgressColumn):
    def __init__(self, bar: RichProgress) -> None:
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        pace = self._bar.pace_of(task)
        return Text(format_rate(pace, self._bar.unit) if pace else "", style=self._bar.theme.processing_speed)


class _TimeLeftColumn(ProgressColumn):
    def __init__(self, bar: RichProgress) -> None:
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        pace = self._bar.pace_of(task)
        return Text(format_left(pace) if pace else "", style=self._bar.theme.time)


class PlainProgress(PacedProgress):
    """A plain line now and then, and at the end of each epoch, where there is no terminal to draw a bar in.

    `epoch 3/20  step 120/980  12%  train/loss 1.234  val/accuracy 0.71  460 images/s  12:34 left`; steps are batches,
    metrics those logged with `prog_bar=True`, the time left that of the whole fit. Only the first process prints.

    Args:
        every_n_seconds: The time between two lines.
    """

    def __init__(self, every_n_seconds: float = 30.0) -> None:
        super().__init__()
        self._enabled = True
        self.every_n_seconds = every_n_seconds

    @property
    def is_enabled(self) -> bool:
        """Whether this process prints."""
        return self._enabled

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._throttle = Throttle(self.every_n_seconds, self.clock)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._enabled and self._throttle.due():
            self._print_fit(trainer, pl_module, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self._enabled:
            self._print_fit(trainer, pl_module, trainer.fit_loop.epoch_loop.batch_progress.current.completed)

    def _batch(self, stage: str, trainer: Trainer, batch: Any, batch_idx: int, loader: int, batches: Any) -> None:
        super()._batch(stage, trainer, batch, batch_idx, loader, batches)
        last = loader == len(batches) - 1 and batch_idx + 1 == batches[-1] and trainer.state.fn != "fit"
        if self._enabled and not trainer.sanity_checking and (self._throttle.due() or last):
            step = steps_of(batch_idx + 1, batches[loader])
            part = [f"loader {loader + 1}/{len(batches)}"] if len(batches) > 1 else []
            pace = self.paces[stage]
            self._print(stage, *part, *step, format_rate(pace, self.unit), format_left(pace))

    def _print_fit(self, trainer: Trainer, pl_module: LightningModule, done: int) -> None:
        metrics = [f"{name} {float(value):.4g}" for name, value in self.get_metrics(trainer, pl_module).items()]
        step = steps_of(done, trainer.num_training_batches)
        pace = self.paces["train"]
        epoch = f"epoch {epoch_of(trainer, trainer.current_epoch)}"
        self._print(epoch, *step, *metrics, format_rate(pace, self.unit), format_left(pace))

    def _print(self, *parts: str) -> None:
        print("  ".join(part for part in parts if part), flush=True)


def default_progress() -> ProgressBar:
    """The bar where standard output is a terminal, plain lines where it is not."""
    return RichProgress() if sys.stdout.isatty() else PlainProgress()


def fit_batches(trainer: Trainer, batch_idx: int) -> tuple[int, float]:
    """Batches done in the whole fit at the end of batch `batch_idx` of this epoch, and batches in all (or infinity)."""
    an_epoch = trainer.num_training_batches
    if not math.isfinite(an_epoch):
        steps = trainer.max_steps if trainer.max_steps >= 0 else math.inf
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1, steps * trainer.accumulate_grad_batches
    done = trainer.current_epoch * int(an_epoch) + batch_idx + 1
    total = math.inf
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        total = trainer.max_epochs * an_epoch
    if trainer.max_steps >= 0:
        # The last batch of an epoch steps even when the accumulation is not full
        steps_an_epoch = math.ceil(an_epoch / trainer.accumulate_grad_batches)
        epochs, rest = divmod(trainer.max_steps, steps_an_epoch)
        total = min(total, epochs * an_epoch + rest * trainer.accumulate_grad_batches)
    return done, total


def epoch_of(trainer: Trainer, epoch: int) -> str:
    """`3/20` for the third epoch of twenty, `3` where their number is unknown."""
    known = trainer.max_epochs is not None and trainer.max_epochs >= 0
    return f"{epoch + 1}/{trainer.max_epochs}" if known else str(epoch + 1)


def steps_of(done: int, total: float) -> list[str]:
    """`step 120/980` and `12%`, or `step 120` where the total is unknown."""
    if not math.isfinite(total):
        return [f"step {done}"]
    return [f"step {done}/{int(total)}", f"{int(100 * done / max(total, 1))}%"]


def format_rate(pace: Pace, unit: str) -> str:
    """`460 images/s`; nothing where it is unknown."""
    rate = pace.examples_per_second
    if rate is None:
        return ""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s"


def format_left(pace: Pace) -> str:
    """`12:34 left` or `1:02:03 left`; nothing where it is unknown."""
    if pace.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(pace.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
