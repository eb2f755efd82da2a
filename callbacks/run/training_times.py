"""Time and examples of a training run: as a whole and after each epoch, over all of its sessions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from callbacks.pace import Clock
from callbacks.run.throughput_file import Row


class Totals(NamedTuple):
    """Time and examples of a training run up to some moment.

    Attributes:
        seconds: Time of training and validation.
        validation_seconds: Time of validation.
        examples: Number of examples trained on, over all processes.
    """

    seconds: float = 0.0
    validation_seconds: float = 0.0
    examples: int = 0

    @property
    def training_seconds(self) -> float:
        """Time of training without validation."""
        return self.seconds - self.validation_seconds


class TrainingTimes:
    """Clock of a training run, stopped between its sessions.

    Attributes:
        epochs: Totals after each completed epoch and its validation, by the number of epochs done.
    """

    clock: Clock = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.epochs: dict[int, Totals] = {}
        self._ended = Totals()  # without the time since the session started
        self._started: float | None = None
        self._validation_started: float | None = None

    @property
    def running(self) -> bool:
        """Whether a session has started and not ended."""
        return self._started is not None

    def start(self) -> None:
        """Start a session."""
        self._started = self.clock()

    def stop(self) -> None:
        """End the session."""
        self._ended, self._started = self.now(), None

    def now(self) -> Totals:
        """Return the totals so far."""
        if self._started is None:
            return self._ended
        now, (seconds, validation) = self.clock(), (self._ended.seconds, self._ended.validation_seconds)
        if self._validation_started is not None:  # one that is stopped here is not training either
            validation += now - self._validation_started
        return self._ended._replace(seconds=seconds + now - self._started, validation_seconds=validation)

    def start_validation(self) -> None:
        """Start the clock of a validation."""
        self._validation_started = self.clock()

    def stop_validation(self) -> None:
        """Add the time of a validation, unless it ran before the session, as a sanity check does."""
        if self.running and self._validation_started is not None:
            passed = self.clock() - self._validation_started
            self._ended = self._ended._replace(validation_seconds=self._ended.validation_seconds + passed)
        self._validation_started = None

    def add_examples(self, count: int) -> None:
        """Count examples that were trained on."""
        self._ended = self._ended._replace(examples=self._ended.examples + count)

    def end_epoch(self, epochs: int) -> None:
        """Record the totals after a number of epochs."""
        self.epochs[epochs] = self.now()

    def rows(self) -> list[Row]:
        """Return a row of `throughput.csv` for each epoch that had examples and whose start is known."""
        known = {0: Totals(), **self.epochs}
        steps = [(epoch, known[epoch - 1], after) for epoch, after in self.epochs.items() if epoch - 1 in known]
        return [
            (epoch, after.training_seconds - before.training_seconds, after.examples - before.examples)
            for epoch, before, after in steps
            if after.examples > before.examples
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the totals as plain values, for a checkpoint."""
        return {**self.now()._asdict(), "epochs": {epoch: list(totals) for epoch, totals in self.epochs.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the totals of earlier sessions."""
        self._ended = Totals(*(state[name] for name in Totals._fields))
        self.epochs = {epoch: Totals(*totals) for epoch, totals in state.get("epochs", {}).items()}
