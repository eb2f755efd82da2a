"""Order of the training images: which form which batch, as a pure function of seed, epoch, rank and world size."""

from __future__ import annotations

import torch
from torch import Tensor

from utils.random_streams import torch_generator


def left_out(size: int, batch_size: int, world_size: int) -> int:
    """Return how many images of a training set are in no batch of an epoch (see `training_batches`)."""
    together = batch_size * world_size
    return size % (together if size >= together else world_size)


def training_batches(size: int, batch_size: int, *, seed: int, epoch: int, rank: int, world_size: int) -> Tensor:
    """Return this rank's batches of a training epoch, as positions int64 [steps, B]: a pure function of the arguments.

    All ranks shuffle alike; of each `world_size * batch_size` consecutive positions, rank r takes the r-th
    `batch_size`. Positions left over at the end of an epoch are dropped, except when they are all there are: then they
    form one small batch.

    Raises:
        ValueError: There are fewer examples than processes.
    """
    if size < world_size:
        raise ValueError(
            f"the training set has {size} examples, fewer than the {world_size} processes: use fewer devices"
        )
    order = torch.randperm(size, generator=torch_generator("order", seed, epoch))
    steps = size // (batch_size * world_size)
    if steps == 0:
        return order[None, rank : size - size % world_size : world_size]
    return order[: steps * world_size * batch_size].view(steps, world_size, batch_size)[:, rank]
