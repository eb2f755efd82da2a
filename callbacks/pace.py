"""Pace of a stage: its throughput and remaining time."""

import math
import time
from collections.abc import Callable

from lightning.pytorch import Trainer

from utils.accumulation import steps_in

Clock = Callable[[], float]
"""Returns seconds since any fixed moment."""

HALF_LIFE = 10.0
"""Seconds after which the weight of a batch in the throughput has halved."""


class Pace:
    """Throughput and remaining time of one stage.

    The throughput is an average over the recent past, in which the weight of a batch halves every `HALF_LIFE` seconds.
    The remaining time follows from the whole stage, including validation in between, but without its first batch,
    which is often slow.

    Args:
        clock: Returns seconds since any fixed moment.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._examples = 0.0
        self._seconds = 0.0
        self._last = clock()
        self._first: tuple[float, int] | None = None
        self._done = 0
        self._total = math.inf
        self.at_most: float | None = None
        """Seconds after which the stage ends in any case; None if there is no such limit."""

    def skip(self) -> None:
        """Leave the time since the last batch out of the throughput, because it was spent on something else."""
        self._last = self._clock()

    def batch(self, examples: int, done: int, total: float) -> None:
        """Record the end of a batch.

        Args:
            examples: Number of examples in it, over all processes.
            done: Number of batches done so far, including those before a run was resumed.
            total: Number of batches in the stage; infinity if unknown.
        """
        now = self._clock()
        passed, self._last = now - self._last, now
        keep = 0.5 ** (passed / HALF_LIFE)
        self._examples = self._examples * keep + examples
        self._seconds = self._seconds * keep + passed
        self._done, self._total = done, total
        if self._first is None:
            self._first = (now, done)

    @property
    def examples_per_second(self) -> float | None:
        """Throughput; None before the first batch."""
        return self._examples / self._seconds if self._seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Remaining time; None if the total is unknown or fewer than two batches are done, and there is no limit."""
        if self._first is None or not math.isfinite(self._total) or self._done <= self._first[1]:
            return self.at_most
        per_batch = (self._last - self._first[0]) / (self._done - self._first[1])
        left = max(0.0, (self._total - self._done) * per_batch)
        return left if self.at_most is None else min(left, self.at_most)


def format_throughput(pace: Pace, unit: str) -> str:
    """Return a throughput such as `460 images/s`, or an empty string if it is unknown."""
    rate = pace.examples_per_second
    if rate is None:
        return ""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s"


def format_time_left(pace: Pace) -> str:
    """Return a remaining time such as `12:34 left` or `1:02:03 left`, or an empty string if it is unknown."""
    if pace.seconds_left is None:
        return ""
    return f"{format_duration(pace.seconds_left)} left"


def format_duration(seconds: float) -> str:
    """Return a time such as `12:34` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def fit_batches(trainer: Trainer, batch_idx: int) -> tuple[int, float]:
    """Return the number of batches that the whole fit has done, and its total number of batches.

    Args:
        trainer: A trainer in a fit.
        batch_idx: Index in its epoch of the batch that has just ended.

    Returns:
        Batches done and total batches; the latter is infinity if unknown.
    """
    per_epoch = trainer.num_training_batches
    if not math.isfinite(per_epoch):
        steps = trainer.max_steps if trainer.max_steps >= 0 else math.inf
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1, steps * trainer.accumulate_grad_batches
    done = trainer.current_epoch * int(per_epoch) + batch_idx + 1
    total = math.inf
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        total = trainer.max_epochs * per_epoch
    if trainer.max_steps >= 0:
        epochs, rest = divmod(trainer.max_steps, steps_in(trainer, per_epoch))
        total = min(total, epochs * per_epoch + rest * trainer.accumulate_grad_batches)
    return done, total
