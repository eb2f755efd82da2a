"""Images in memory, and what is computed over all of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from utils.random_streams import torch_generator


class ImageSet(NamedTuple):
    """Images uint8 [N, 3, H, W], labels int64 [N] (-1 where unknown), and a name for each (None: its number)."""

    images: Tensor
    labels: Tensor
    names: list[str] | None = None

    def select(self, positions: Tensor) -> ImageSet:
        """Return the examples at these positions (int64)."""
        names = None if self.names is None else [self.names[position] for position in positions.tolist()]
        return ImageSet(take(self.images, positions), self.labels[positions], names)


def take(images: Tensor, index: Tensor) -> Tensor:
    """Return images[index] for images [N, ...]: on a CPU one run of bytes per row is many times faster to copy."""
    return images.flatten(1).index_select(0, index).view(-1, *images.shape[1:])


def stratified_split(
    labels: Tensor, size: int, *, seed: int, purpose: Literal["test_split", "validation_split"]
) -> tuple[Tensor, Tensor]:
    """Set `size` examples apart at random, each class in proportion (largest remainders first).

    Args:
        labels: int64 [N].
        size: How many to set apart, 0 <= size < N.
        seed: The same seed and purpose set the same examples apart.
        purpose: What they are set apart for.

    Returns:
        (positions kept, positions set apart), both int64 and ascending.
    """
    total = len(labels)
    counts = torch.bincount(labels)
    shares = counts * size  # in units of 1/total: integers, so that the remainders are exact
    quotas = shares // total
    remainders = shares % total
    quotas[remainders.argsort(descending=True, stable=True)[: size - int(quotas.sum())]] += 1
    generator = torch_generator(purpose, seed)
    apart = torch.zeros(total, dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        members = (labels == label).nonzero().flatten()
        apart[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~apart).nonzero().flatten(), apart.nonzero().flatten()


def channel_statistics(
    images: Tensor,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation of each channel over all pixels of images scaled to [0, 1].

    Args:
        images: uint8 [N, 3, H, W].
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(3):
        counts = torch.zeros(256, dtype=torch.float64)
        for chunk in images[:, channel].split(4096):
            counts += torch.bincount(chunk.flatten(), minlength=256)
        shares = counts / counts.sum()
        mean = (shares * values).sum()
        means.append(mean.item())
        # A channel that is the same everywhere would divide by zero.
        stds.append(max((shares * (values - mean) ** 2).sum().sqrt().item(), 1 / 255))
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])
