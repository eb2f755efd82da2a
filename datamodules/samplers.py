"""Which examples make which batch.

Orders that depend on (seed, epoch) alone, and a loader that can begin in mid-epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from datamodules.seeding import torch_generator

Batch = TypeVar("Batch")


def rank_and_world(trainer: Trainer | None) -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) without a trainer."""
    return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)


def training_position(trainer: Trainer | None) -> tuple[int, int]:
    """(epoch, batches of it already done) as the fit loop counts them; (0, 0) without a trainer.

    With ``overfit_batches`` the epoch stays 0, so that every epoch sees the same batches.
    """
    if trainer is None:
        return 0, 0
    epoch = 0 if getattr(trainer, "overfit_batches", 0) else trainer.current_epoch
    return epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready


def planned_epochs(trainer: Trainer | None) -> float:
    """How many epochs the training is to last, from `max_epochs` or `max_steps`; infinite where neither is set."""
    if trainer is None:
        return math.inf
    by_epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else math.inf
    batches = trainer.max_steps * trainer.accumulate_grad_batches if trainer.max_steps > 0 else math.inf
    return min(by_epochs, batches / trainer.num_training_batches)


def training_batches(size: int, batch_size: int, *, seed: int, epoch: int, rank: int, world: int) -> list[Tensor]:
    """This rank's batches of one training epoch, as int64 positions: a pure function of the arguments.

    All ranks shuffle alike; of each ``world * batch_size`` consecutive positions rank r takes the r-th ``batch_size``.
    What is left at the end of an epoch is dropped, except when it is all there is: then it makes one small batch.

    Raises:
        ValueError: fewer examples than processes.
    """
    require_one_each("training", size, world)
    order = torch.randperm(size, generator=torch_generator(seed, epoch))
    steps = size // (batch_size * world)
    if steps == 0:
        return [order[rank : size - size % world : world]]
    return list(order[: steps * world * batch_size].view(steps, world, batch_size)[:, rank].unbind())


def require_one_each(part: str, size: int, world: int) -> None:
    """Refuses data of which a process would get nothing: the others would wait for it for ever.

    Args:
        part: Which data: training, validation or test.
        size: Number of examples.
        world: Number of processes.

    Raises:
        ValueError: Fewer examples than processes.
    """
    if size < world:
        raise ValueError(f"the {part} set has {size} examples, fewer than the {world} processes: use fewer devices")


def evaluation_batches(size: int, batch_size: int, *, rank: int, world: int) -> list[Tensor]:
    """This rank's batches of an evaluation: positions rank, rank + world, ... in order, none twice and no padding.

    All ranks have equally many batches, where each has an example: in a fit DDP synchronises the network's buffers at
    every batch, and a rank with one batch more would wait for ever. A rank with one fewer parts its last batch in two;
    where that has but one example, those with one more put their last two together.
    """
    if rank >= size:
        return []
    batches = list(torch.arange(rank, size, world).split(batch_size))
    most = math.ceil(math.ceil(size / world) / batch_size)  # the first rank's
    if batch_size == 1 and len(batches) > size // world > 0:
        batches[-2:] = [torch.cat(batches[-2:])]
    elif len(batches) < most and len(batches[-1]) > 1:
        batches[-1:] = [batches[-1][:-1], batches[-1][-1:]]
    return batches


class BatchLoader(Generic[Batch]):
    """An iterable over whole batches that starts where the fit loop stands.

    Lightning resumes inside an epoch by counting the batches done and starting the loader anew. So the position is
    asked for when the first batch is wanted: after the loop has restored its counters, and not when ``iter()`` is
    called.

    Args:
        plan: Gives the batches of an epoch, each in whatever form ``fetch`` takes.
        fetch: Makes a batch from (what the plan gave, epoch, number of the batch within the epoch).
        position: Gives (epoch, batches already done).
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
        return len(self._batches(self._position()[0]))

    def __iter__(self) -> Iterator[Batch]:
        epoch, start = self._position()
        batches = self._batches(epoch)
        for step in range(start, len(batches)):
            yield self._fetch(batches[step], epoch, step)

    # The position belongs to the trainer. Having these two methods tells Lightning that the loader can resume in
    # mid-epoch; without them it warns that the continuation is unreliable.
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load: see above."""
