"""Augmentation of whole batches, on the device the batch is on.

B images, C channels, H x W pixels, K classes. Images are uint8 until something blends or shrinks them; from then on they
are float32, still in 0..255. Random numbers are drawn on the CPU from the generator passed in, so that a CPU and a GPU
run see the same augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def pad_crop(
    images: Tensor,
    padding: int,
    mode: Literal["reflect", "zero"],
    generator: torch.Generator,
) -> Tensor:
    """Pad every side by `padding` pixels and cut a window of the old size at a random place (He et al. 2015, section 4.2).

    Args:
        images: [B, C, H, W].
        padding: Pixels added to each side.
        mode: ``reflect`` mirrors the image without repeating its edge, ``zero`` adds black.
        generator: Source of the B vertical and B horizontal shifts.
    """
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4, mode="reflect" if mode == "reflect" else "constant")
    shifts = torch.randint(0, 2 * padding + 1, (2, batch), generator=generator).to(images.device)
    # A crop is B * C * H runs of W neighbouring pixels. Finding where each begins and gathering the runs is several
    # times faster on a CPU than indexing pixels, or than looping over the possible shifts.
    padded_height, padded_width = padded.shape[2:]
    planes = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * padded_height
    rows = planes + shifts[0].view(batch, 1, 1) + torch.arange(height, device=images.device)  # [B, C, H]
    starts = rows * padded_width + shifts[1].view(batch, 1, 1)
    runs = padded.reshape(-1).unfold(0, width, 1)
    return runs.index_select(0, starts.flatten()).view(batch, channels, height, width)


def flip_where(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror left to right the images [B, C, H, W] whose entry in `chosen` (bool [B]) is true."""
    picked = chosen.nonzero().flatten().to(images.device)
    return images.index_copy(0, picked, images.index_select(0, picked).flip(3))


def alternating_sides(index: Tensor, epoch: int, seed: int) -> Tensor:
    """Which images are mirrored in this epoch (bool [B]): a random half in epoch 0, the others in epoch 1, and so on.

    Two consecutive epochs show both sides of every image (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.6).
    The first side is a hash of the image's index and the seed.

    Args:
        index: int64 [B], position of each image in the training set.
        epoch: Counted from 0.
        seed: Seed of the run.
    """
    bits = (index + 0x9E3779B9 * (seed + 1)) & 0xFFFFFFFF
    for _ in range(2):
        bits = ((bits ^ (bits >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return (((bits >> 16) + epoch) & 1).bool()


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training batch. Everything is off by default.

    The order is: crop, flip.

    Args:
        crop_padding: Pixels of padding on each side before a random crop back to size; 0 switches it off.
        crop_mode: What the padding holds: ``reflect`` (mirrored image) or ``zero`` (black).
        flip: ``none``; ``random``: each image mirrored with probability 1/2; ``alternating``: a random side in the first
            epoch, then the other side every other epoch.
    """

    crop_padding: int = 0
    crop_mode: Literal["reflect", "zero"] = "reflect"
    flip: Literal["none", "random", "alternating"] = "none"

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        *,
        seed: int,
        epoch: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch: uint8 images [B, 3, H, W] and int64 labels [B] of the training examples `index` [B]."""
        if self.crop_padding:
            images = pad_crop(images, self.crop_padding, self.crop_mode, generator)
        if self.flip == "random":
            images = flip_where(images, torch.rand(len(images), generator=generator) < 0.5)
        elif self.flip == "alternating":
            images = flip_where(images, alternating_sides(index, epoch, seed))
        return images, labels
