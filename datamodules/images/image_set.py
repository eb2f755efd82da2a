"""Images in memory, their splits, and statistics over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from utils.devices import free_bytes
from utils.random_streams import torch_generator

SHARE_OF_DEVICE = 0.25
"""The largest share of a GPU's free memory that training images may take: the rest is for training."""

SplitPurpose = Literal["test_split", "validation_split"]


class ImageSet(NamedTuple):
    """Images in memory.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: int64 [N], -1 where unknown.
        names: Name of each image; None if their numbers are their names.
        source: Where they come from, such as a folder.
    """

    images: Tensor
    labels: Tensor
    names: list[str] | None = None
    source: str = ""

    def select(self, positions: Tensor) -> ImageSet:
        """Return the examples at these positions (int64)."""
        names = None if self.names is None else [self.names[position] for position in positions.tolist()]
        return ImageSet(take(self.images, positions), self.labels[positions], names, self.source)

    def split(self, size: int, *, seed: int, purpose: SplitPurpose) -> tuple[ImageSet, ImageSet | None]:
        """Return the examples left and the `size` examples held out; arguments as `stratified_split`.

        With `size` 0 that is (these examples, None).
        """
        if size == 0:
            return self, None
        kept, held_out = stratified_split(self.labels, size, seed=seed, purpose=purpose)
        return self.select(kept), self.select(held_out)._replace(source=split_off(self.source))

    def hold_out_validation(self, size: int, *, seed: int) -> tuple[ImageSet, ImageSet | None]:
        """Return the training images left and those held out for validation, as `split`.

        Raises:
            ValueError: `size`, which is data.validation_size, would leave none to train on.
        """
        if size >= len(self.labels):
            raise ValueError(
                f"data.validation_size must be below the number of training images, {len(self.labels)}, got {size}"
            )
        return self.split(size, seed=seed, purpose="validation_split")


def split_line(split: str, source: str, labels: Tensor) -> str:
    """Return a split in one line: its name, where it comes from, number of images and classes.

    Args:
        split: Name of the split.
        source: Where it comes from.
        labels: int64 [N].
    """
    classes = len(labels.unique())
    plural = f"{len(labels):,} image{'s' * (len(labels) != 1)} of {classes:,} class{'es' * (classes != 1)}"
    return f"{split}: {source + ', ' if source else ''}{plural}"


def take(images: Tensor, index: Tensor) -> Tensor:
    """Return images[index] for images [N, ...]; on a CPU, copying one run of bytes per row is many times faster."""
    return images.flatten(1).index_select(0, index).view(-1, *images.shape[1:])


def near(examples: ImageSet, device: torch.device) -> ImageSet:
    """Return examples in the memory of a GPU if they take no more than a share of what is free there."""
    if examples.images.nbytes > free_bytes(device) * SHARE_OF_DEVICE:
        return examples
    return examples._replace(images=examples.images.to(device), labels=examples.labels.to(device))


def stratified_split(
    labels: Tensor, size: int, *, seed: int, purpose: SplitPurpose, names: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Hold out `size` examples at random, in proportion to the sizes of the classes (largest remainders first).

    Args:
        labels: int64 [N].
        size: Number of examples to hold out, 0 to N.
        seed: The same seed and purpose hold out the same examples.
        purpose: What the examples are held out for.
        names: A name for each example, by which it is chosen: where an example is added, removed or gets another label,
            the others stay where they are, but for a few at the border. If None, examples are drawn by their positions.

    Returns:
        (positions kept, positions held out), both int64 and ascending.
    """
    total = len(labels)
    counts = torch.bincount(labels)
    shares = counts * size  # in units of 1/total: integers, so that the remainders are exact
    quotas = shares // total
    remainders = shares % total
    quotas[remainders.argsort(descending=True, stable=True)[: size - int(quotas.sum())]] += 1
    generator = torch_generator(purpose, seed)
    ranks = None if names is None else _ranks(names, seed, purpose)
    held_out = torch.zeros(total, dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator) if ranks is None else ranks[members].argsort()
        held_out[members[order[:quota]]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def _ranks(names: Sequence[str], seed: int, purpose: SplitPurpose) -> Tensor:
    """Return the rank of each name among the digests of all, which are in another order for each seed and purpose."""
    digests = [
        sha256("\0".join((purpose, str(seed), name)).encode(errors="surrogateescape")).digest() for name in names
    ]
    ranks = torch.empty(len(names), dtype=torch.int64)
    ranks[sorted(range(len(names)), key=digests.__getitem__)] = torch.arange(len(names))
    return ranks


def split_off(source: str) -> str:
    """Return where held-out examples come from, given where all of them come from."""
    return f"split off {source}"


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
        for chunk in torch.split(images[:, channel], 4096):
            counts += torch.bincount(chunk.flatten(), minlength=256)
        shares = counts / counts.sum()
        mean = (shares * values).sum()
        means.append(mean.item())
        # The standard deviation of a constant channel is 0, which normalisation would divide by.
        stds.append(max((shares * (values - mean) ** 2).sum().sqrt().item(), 1 / 255))
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])
