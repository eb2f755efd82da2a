"""Data loader of whole batches, which starts at the position of the fit loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from datamodules.copied_ahead import copied_ahead
from datamodules.trainer_state import device_of
from utils.batch_limits import active_limits
from utils.distributed import deal, rank_and_world_size
from utils.random_streams import torch_generator
from utils.resume_position import HasBatchDigest, checksum

Batch = TypeVar("Batch")
EvaluationSplit = Literal["val", "test"]


def training_position(trainer: Trainer | None) -> tuple[int, int]:
    """Return (epoch, number of its batches already trained on) as the fit loop counts them; (0, 0) without a trainer.

    With `overfit_batches` the epoch stays 0, so that every epoch has the same batches.
    """
    if trainer is None:
        return 0, 0
    epoch = 0 if trainer.overfit_batches else trainer.current_epoch  # type: ignore[attr-defined]
    return epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready


class BatchLoader(HasBatchDigest, Generic[Batch]):
    """An iterable over whole batches that starts at the position of the fit loop.

    Lightning resumes inside an epoch by counting the batches done and restarting the loader. The loader therefore asks
    for the position when the first batch is requested: by then the loop has restored its counters, which it has not yet
    when `iter()` is called.

    Args:
        plan: Returns the batches of an epoch, each as the tensor that `fetch` takes.
        fetch: Builds a batch from (an element of the plan, epoch, number of the batch within the epoch).
        position: Returns (epoch, number of batches already done).
        device: Device to which each batch is copied while the one before it is in use.
    """

    def __init__(
        self,
        plan: Callable[[int], Sequence[Tensor]],
        fetch: Callable[[Tensor, int, int], Batch],
        position: Callable[[], tuple[int, int]] = lambda: (0, 0),
        device: torch.device = torch.device("cpu"),  # noqa: B008 (immutable)
    ) -> None:
        self._plan = plan
        self._fetch = fetch
        self._position = position
        self._device = device
        self._planned: tuple[int, Sequence[Tensor]] | None = None
        self._digest: int | None = None

    def _batches(self, epoch: int) -> Sequence[Tensor]:
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._plan(epoch))
        return self._planned[1]

    def __len__(self) -> int:
        """Return the number of batches in the current epoch."""
        return len(self._batches(self._position()[0]))

    def __iter__(self) -> Iterator[Batch]:
        """Yield the remaining batches of the current epoch."""
        epoch, start = self._position()
        plan = self._batches(epoch)
        batches = (self._fetch(plan[step], epoch, step) for step in range(start, len(plan)))
        yield from copied_ahead(batches, self._device)

    def digest(self) -> int:
        """Return a checksum of the batches of the first epoch: the others are made in the same way."""
        if self._digest is None:
            self._digest = checksum(batch.contiguous().numpy().tobytes() for batch in self._plan(0))
        return self._digest

    # The position belongs to the trainer. The presence of these two methods tells Lightning that the loader can resume
    # inside an epoch; without them it warns that resuming is unreliable.
    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the position is the trainer's."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load nothing: the position is the trainer's."""


def evaluation_loader(
    batches: Sequence[Tensor], fetch: Callable[[Tensor], Batch], trainer: Trainer | None
) -> BatchLoader[Batch]:
    """Return the loader of this process's share of an evaluation, as `deal` gives it.

    Args:
        batches: The batches of all processes, the same whatever the number of processes.
        fetch: Builds a batch from one of them, or from an empty tensor.
        trainer: The trainer, if any.
    """
    mine = deal(batches, *rank_and_world_size(trainer))
    return BatchLoader(lambda epoch: mine, lambda part, epoch, step: fetch(part), device=device_of(trainer))


def is_limited(split: EvaluationSplit, trainer: Trainer | None) -> bool:
    """Return whether the trainer leaves out some of an evaluation."""
    return trainer is not None and bool(active_limits(trainer, [split]))


def evaluation_order(size: int, split: EvaluationSplit, trainer: Trainer | None) -> Tensor:
    """Return the order in which an evaluation has its examples, or its batches, as integers [size].

    It is their own order unless the trainer leaves some out, as with `limit_val_batches`: the first may all be of one
    class, or the longest texts. Then it is a random order, the same each time.
    """
    if not is_limited(split, trainer):
        return torch.arange(size)
    return torch.randperm(size, generator=torch_generator("limited_evaluation", 0))


def require_examples(split: EvaluationSplit, size: int) -> None:
    """Raise ValueError if a split has no examples."""
    if size == 0:
        name = {"val": "validation", "test": "test"}[split]
        raise ValueError(f"the {name} set has no examples: add some, or use other data")
