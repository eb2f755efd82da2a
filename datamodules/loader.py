"""A loader of whole batches that starts where the fit loop stands, and what a training knows of its length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from lightning.pytorch import Trainer
from torch import Tensor

Batch = TypeVar("Batch")


def stage_of(trainer: Trainer | None) -> str | None:
    """Return what a trainer is running ("fit", "validate", "test" or "predict"); None if nothing, or without one."""
    stage = trainer.state.fn if trainer is not None else None
    return None if stage is None else str(stage.value)


def training_position(trainer: Trainer | None) -> tuple[int, int]:
    """Return (epoch, batches of it already trained on) as the fit loop counts them; (0, 0) without a trainer.

    With ``overfit_batches`` the epoch stays 0, so that every epoch sees the same batches.
    """
    if trainer is None:
        return 0, 0
    epoch = 0 if trainer.overfit_batches else trainer.current_epoch  # type: ignore[attr-defined]
    return epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready


def planned_epochs(trainer: Trainer | None) -> float:
    """Return how many epochs the training is to last, by `max_epochs` or `max_steps`; infinity if neither is set."""
    if trainer is None:
        return math.inf
    by_epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else math.inf
    batches = trainer.max_steps * trainer.accumulate_grad_batches if trainer.max_steps > 0 else math.inf
    return min(by_epochs, batches / trainer.num_training_batches)


def require_one_each(part: str, size: int, world_size: int) -> None:
    """Refuse data of which a process would get nothing: the others would wait for it for ever.

    Args:
        part: Which data: training, validation or test.
        size: Number of examples.
        world_size: Number of processes.

    Raises:
        ValueError: Fewer examples than processes.
    """
    if size < world_size:
        raise ValueError(
            f"the {part} set has {size} examples, fewer than the {world_size} processes: use fewer devices"
        )


class BatchLoader(Generic[Batch]):
    """An iterable over whole batches that starts where the fit loop stands.

    Lightning resumes inside an epoch by counting the batches done and starting the loader again. So the position is
    asked for when the first batch is wanted: after the loop has restored its counters, and not when ``iter()`` is
    called.

    Args:
        plan: Returns the batches of an epoch, each in whatever form ``fetch`` takes.
        fetch: Makes a batch from (an element of the plan, epoch, number of the batch within the epoch).
        position: Returns (epoch, batches already done).
    """

    def __init__(
        self,
        plan: Callable[[int], Sequence[Tensor]],
        fetch: Callable[[Tensor, int, int], Batch],
        position: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self._plan = plan
        self._fetch = fetch
        self._position = position
        self._planned: tuple[int, Sequence[Tensor]] | None = None

    def _batches(self, epoch: int) -> Sequence[Tensor]:
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        return self._planned[1]

    def __len__(self) -> int:
        """Return the number of batches in the current epoch."""
        return len(self._batches(self._position()[0]))

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the current epoch's batches."""
        epoch, start = self._position()
        batches = self._batches(epoch)
        for step in range(start, len(batches)):
            yield self._fetch(batches[step], epoch, step)

    # The position belongs to the trainer. Having these two methods tells Lightning that the loader can resume in
    # mid-epoch; without them it warns that the continuation is unreliable.
    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the position is the trainer's."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load nothing: the position is the trainer's."""
