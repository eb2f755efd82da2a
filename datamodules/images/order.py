"""Which images form which batch: a pure function of seed, epoch, rank and world size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules.loader import require_one_each
from utils.random_streams import torch_generator


def training_batches(size: int, batch_size: int, *, seed: int, epoch: int, rank: int, world_size: int) -> list[Tensor]:
    """Return this rank's batches of one training epoch, as positions int64: a pure function of the arguments.

    All ranks shuffle alike; of each `world_size * batch_size` consecutive positions, rank r takes the r-th
    `batch_size`. Positions left over at the end of an epoch are dropped, except when they are all there are: then they
    form one small batch.

    Raises:
        ValueError: There are fewer examples than processes.
    """
    require_one_each("training", size, world_size)
    order = torch.randperm(size, generator=torch_generator("order", seed, epoch))
    steps = size // (batch_size * world_size)
    if steps == 0:
        return [order[rank : size - size % world_size : world_size]]
    return list(order[: steps * world_size * batch_size].view(steps, world_size, batch_size)[:, rank].unbind())


def evaluation_batches(size: int, batch_size: int, *, rank: int, world_size: int) -> list[Tensor]:
    """Return this rank's batches of an evaluation: positions rank, rank + world_size, ... in order, without padding.

    All ranks that have an example have the same number of batches: in a fit, DDP synchronises the network's buffers at
    every batch, and a rank with one batch more would wait forever. A rank with one batch fewer splits its last batch in
    two; with a batch size of 1, the ranks with one more merge their last two instead.
    """
    if rank >= size:
        return []
    batches = list(torch.split(torch.arange(rank, size, world_size), batch_size))
    most = math.ceil(math.ceil(size / world_size) / batch_size)  # number of batches of the first rank
    if batch_size == 1 and len(batches) > size // world_size > 0:
        batches[-2:] = [torch.cat(batches[-2:])]
    elif len(batches) < most and len(batches[-1]) > 1:
        batches[-1:] = [batches[-1][:-1], batches[-1][-1:]]
    return batches
