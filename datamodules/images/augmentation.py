"""Augmentation of whole batches, on the device that the batch is on; `ImageDataModule` (`base.py`) calls it.

Legend of shapes: B images, C channels, H x W pixels, K classes. Images are uint8 until an operation blends or shrinks
them; from then on they are float32, still from 0 to 255.

Random numbers are drawn on the CPU, so that a run on a CPU and one on a GPU have the same augmentation. What follows
from them, such as the place of each crop, is also computed there, and sent to the images: a GPU takes longer to start a
computation with a few hundred numbers than a CPU takes to finish it. Nothing waits for a GPU (`utils.devices.send`),
and no shape depends on values that are there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.images.augmentation_policies import rand_augment, trivial_augment
from datamodules.images.resized_crop import resized_crop
from utils.checks import check_at_least, check_choice, check_int, check_probability
from utils.devices import send
from utils.random_streams import numpy_generator, torch_generator


def pad_crop(
    images: Tensor,
    padding: int,
    mode: Literal["reflect", "zero"],
    generator: torch.Generator,
) -> Tensor:
    """Pad every side by `padding` pixels and crop to the old size at a random position.

    Source: He et al. 2015, section 4.2.

    Args:
        images: [B, C, H, W].
        padding: Number of pixels added to each side.
        mode: "reflect" mirrors the image without repeating its edge, "zero" adds black.
        generator: Source of the B vertical and B horizontal shifts.

    Raises:
        ValueError: The mode is "reflect" and the padding is as large as the image.
    """
    batch, channels, height, width = images.shape
    if mode == "reflect" and padding >= min(height, width):
        raise ValueError(f"augmentation.crop_padding must be below the image size {min(height, width)}, got {padding}")
    padded = F.pad(images, (padding,) * 4, mode="reflect" if mode == "reflect" else "constant")
    shifts = torch.randint(0, 2 * padding + 1, (2, batch), generator=generator)
    # A crop consists of B * C * H runs of W adjacent pixels. Computing where each starts and gathering the runs is
    # several times faster on a CPU than indexing pixels or looping over the possible shifts.
    padded_height, padded_width = padded.shape[2:]
    planes = torch.arange(batch * channels).view(batch, channels, 1) * padded_height
    rows = planes + shifts[0].view(batch, 1, 1) + torch.arange(height)  # [B, C, H]
    starts = rows * padded_width + shifts[1].view(batch, 1, 1)
    runs = padded.reshape(-1).unfold(0, width, 1)
    return runs.index_select(0, send(starts.flatten(), images.device)).view(batch, channels, height, width)


def flip_where(images: Tensor, chosen: Tensor) -> Tensor:
    """Flip left to right the images [B, C, H, W] whose entry in `chosen` (bool [B], on the CPU) is true."""
    picked = send(chosen.nonzero().flatten(), images.device)
    return images.index_copy(0, picked, images.index_select(0, picked).flip(3))


def alternating_sides(index: Tensor, epoch: int, seed: int) -> Tensor:
    """Return which images are flipped in an epoch, bool [B]: a random half in epoch 0, the other half in epoch 1, etc.

    Two consecutive epochs show both sides of every image (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.6).
    Which side comes first is a hash of the image's position and the seed.

    Args:
        index: Position of each image in the training set, int64 [B].
        epoch: Epoch, counted from 0.
        seed: Seed of the run.
    """
    bits = (index + (0x9E3779B9 * (seed + 1) & 0xFFFFFFFF)) & 0xFFFFFFFF
    for _ in range(2):
        bits = ((bits ^ (bits >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return (((bits >> 16) + epoch) & 1).bool()


def fill_rectangles(
    images: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor, fill: tuple[float, float, float]
) -> Tensor:
    """Return images [B, 3, H, W] with a colour in rows top to bottom - 1 and columns left to right - 1 of each.

    The four bounds, [B] on the CPU, may be outside the image. The colour `fill` is from 0 to 1, images from 0 to 255.
    """
    rows, columns = (torch.arange(side) for side in images.shape[2:])
    in_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    in_columns = (columns >= left[:, None]) & (columns < right[:, None])
    colour = torch.tensor(fill, dtype=torch.float64).mul(255).round().to(images.dtype)
    in_rows, in_columns, colour = (send(each, images.device) for each in (in_rows, in_columns, colour))
    return torch.where(in_rows[:, None, :, None] & in_columns[:, None, None, :], colour.view(1, 3, 1, 1), images)


def cutout(images: Tensor, size: int, fill: tuple[float, float, float], generator: torch.Generator) -> Tensor:
    """Cover a square around a random pixel of each image; part of it may be outside (DeVries and Taylor 2017).

    Args:
        images: [B, 3, H, W], from 0 to 255.
        size: Side of the square, in pixels.
        fill: Colour of the square, from 0 to 1. The mean of the data set is 0 after normalisation, as in the paper.
        generator: Source of the B rows and B columns.
    """
    batch, _, height, width = images.shape
    top = torch.randint(height, (batch,), generator=generator) - size // 2
    left = torch.randint(width, (batch,), generator=generator) - size // 2
    return fill_rectangles(images, top, left, top + size, left + size, fill)


def random_erasing(
    images: Tensor, probability: float, fill: tuple[float, float, float], generator: torch.Generator
) -> Tensor:
    """Cover a rectangle of 2% to 33% of an image, with an aspect ratio of 0.3 to 3.3 (Zhong et al. 2020, algorithm 1).

    As in torchvision, ten rectangles are drawn per image and the first that fits inside it is used; if none fits, the
    image stays as it is.

    Args:
        images: [B, 3, H, W], from 0 to 255.
        probability: Probability that an image is changed.
        fill: Colour of the rectangle, from 0 to 1.
        generator: Source of all random numbers.
    """
    batch, _, height, width = images.shape
    chosen = torch.rand(batch, generator=generator) < probability
    area = height * width * torch.empty(batch, 10).uniform_(0.02, 0.33, generator=generator)
    ratio = torch.empty(batch, 10).uniform_(math.log(0.3), math.log(3.3), generator=generator).exp()
    heights, widths = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(1, keepdim=True)
    box_height, box_width = heights.gather(1, first).flatten(), widths.gather(1, first).flatten()
    top = (torch.rand(batch, generator=generator) * (height - box_height + 1)).floor()
    left = (torch.rand(batch, generator=generator) * (width - box_width + 1)).floor()
    box_height *= chosen & fits.any(1)  # nothing is covered in the other images
    return fill_rectangles(images, top, left, top + box_height, left + box_width, fill)


def mixup(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Blend each image and target with those before it in the batch (Zhang et al. 2018).

    The order of a training batch is random, and so is the partner (the batch rolled by one).

    Args:
        images: [B, 3, H, W], from 0 to 255.
        targets: Distributions over the classes, float [B, K].
        share: Weight of the image itself, from 0 to 1.
    """
    return torch.lerp(images.roll(1, 0).float(), images.float(), share), torch.lerp(targets.roll(1, 0), targets, share)


def cutmix(images: Tensor, targets: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of the image before it in the batch into each image, and blend targets by area.

    Source: Yun et al. 2019, section 3.1. The batch shares one rectangle: its sides are sqrt(1 - share) of the image's,
    and its centre is a random pixel. The part of it outside the image does not count as pasted.

    Args:
        images: [B, 3, H, W].
        targets: Distributions over the classes, float [B, K].
        share: Share of the image itself if the rectangle is inside, from 0 to 1.
        generator: Source of the centre.
    """
    height, width = images.shape[2:]
    half_height, half_width = (int(0.5 * math.sqrt(1 - share) * side) for side in (height, width))
    row = int(torch.randint(height, (), generator=generator))
    column = int(torch.randint(width, (), generator=generator))
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, torch.lerp(targets.roll(1, 0), targets, kept)


def shrink(images: Tensor, size: int) -> Tensor:
    """Return images [B, 3, H, W] as float32 [B, 3, size, size], bilinear with antialiasing, in the same range."""
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False)


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training batches; everything is off by default.

    The order is: resized crop, crop, flip, policy, cutout, erasing, smaller size, MixUp or CutMix. With MixUp or
    CutMix, the labels of every batch become distributions, float [B, K].

    Args:
        resized_crop: Minimum fraction of an image's area that a random crop keeps, at most 1, such as 0.35; the crop
            has an aspect ratio of 3/4 to 4/3 and is resized to the image's size (RandomResizedCrop). 0 disables it.
        crop_padding: Padding in pixels on each side before a random crop back to size; 0 disables the crop.
        crop_mode: Content of the padding: reflect (the mirrored image) or zero (black).
        flip: Horizontal flip: none, random (each image with probability 1/2) or alternating (a random side in the first
            epoch, the other in the next, and so on).
        policy: Augmentation policy: none, trivial (TrivialAugment, wide) or rand (RandAugment).
        rand_operations: Number of operations per image with the policy rand.
        rand_magnitude: Strength of the operations with the policy rand, from 0 to 30.
        cutout: Side in pixels of a square covered with the mean colour; 0 disables cutout.
        erasing: Probability that a random rectangle of an image is covered with the mean colour; 0 disables erasing.
        mixup_alpha: Both parameters of the Beta distribution of MixUp's weights; 0 disables MixUp.
        cutmix_alpha: Both parameters of the Beta distribution of CutMix's areas; 0 disables CutMix.
        mix_probability: Probability that a batch is mixed.
        cutmix_share: If both MixUp and CutMix are on, the probability that a mixed batch gets CutMix.
        progressive_sizes: Smaller images early in training, as pairs [until, size]: while the fraction of epochs done
            is below `until`, images are resized to size x size pixels; after the last pair they keep their size.
            [[0.4, 24], [0.7, 28]] trains on 24 pixels for the first 40% of the epochs and on 28 until 70%. If null,
            images always keep their size.

    Raises:
        ValueError: A value is out of range.
    """

    resized_crop: float = 0.0
    crop_padding: int = 0
    crop_mode: Literal["reflect", "zero"] = "reflect"
    flip: Literal["none", "random", "alternating"] = "none"
    policy: Literal["none", "trivial", "rand"] = "none"
    rand_operations: int = 2
    rand_magnitude: int = 9
    cutout: int = 0
    erasing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_probability: float = 1.0
    cutmix_share: float = 0.5
    progressive_sizes: list[tuple[float, int]] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("crop_padding", "rand_operations", "rand_magnitude", "cutout"):
            check_int(f"augmentation.{name}", getattr(self, name))
        if self.rand_magnitude > 30:
            raise ValueError(f"augmentation.rand_magnitude must be at most 30, got {self.rand_magnitude}")
        for name in ("mixup_alpha", "cutmix_alpha"):
            check_at_least(f"augmentation.{name}", getattr(self, name))
        for name in ("resized_crop", "erasing", "mix_probability", "cutmix_share"):
            check_probability(f"augmentation.{name}", getattr(self, name))
        check_choice("augmentation.crop_mode", self.crop_mode, ("reflect", "zero"))
        check_choice("augmentation.flip", self.flip, ("none", "random", "alternating"))
        check_choice("augmentation.policy", self.policy, ("none", "trivial", "rand"))
        ends = [until for until, _ in self.progressive_sizes or []]
        if ends != sorted(ends) or any(not 0 < end <= 1 for end in ends):
            raise ValueError(
                f"augmentation.progressive_sizes must have increasing fractions above 0 and up to 1, got {ends}"
            )
        if any(size < 1 for _, size in self.progressive_sizes or []):
            raise ValueError(
                f"augmentation.progressive_sizes must have sizes of at least 1, got {self.progressive_sizes}"
            )

    @property
    def mixes(self) -> bool:
        """Whether labels become distributions."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def size_at(self, progress: float) -> int | None:
        """Return the image size to train on once this share of the epochs is done; None for the images' own."""
        return next((size for until, size in self.progressive_sizes or [] if progress < until), None)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        positions: Tensor,
        *,
        key: tuple[int, int, int, int],
        num_classes: int,
        fill: tuple[float, float, float],
        progress: float,
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch: a pure function of the arguments.

        Args:
            images: uint8 [B, 3, H, W].
            labels: int64 [B].
            positions: Position of each image in the training set, int64 [B], on the CPU.
            key: (seed, epoch, step, rank).
            num_classes: Number of classes K.
            fill: Mean colour, from 0 to 1.
            progress: Share of the planned epochs that is done, from 0 to 1.

        Returns:
            Images, uint8 or float32 [B, 3, H, W] from 0 to 255, and labels, int64 [B] or float [B, K].
        """
        generator = torch_generator("augmentation", *key)
        if self.resized_crop:
            images = resized_crop(images, self.resized_crop, generator)
        if self.crop_padding:
            images = pad_crop(images, self.crop_padding, self.crop_mode, generator)
        if self.flip == "random":
            images = flip_where(images, torch.rand(len(images), generator=generator) < 0.5)
        elif self.flip == "alternating":
            images = flip_where(images, alternating_sides(positions, epoch=key[1], seed=key[0]))
        if self.policy == "trivial":
            images = trivial_augment(images, generator)
        elif self.policy == "rand":
            images = rand_augment(images, self.rand_operations, self.rand_magnitude, generator)
        if self.cutout:
            images = cutout(images, self.cutout, fill, generator)
        if self.erasing:
            images = random_erasing(images, self.erasing, fill, generator)
        size = self.size_at(progress)
        if size is not None and size != images.shape[-1]:
            images = shrink(images, size)
        return self._mix(images, labels, num_classes, key, generator) if self.mixes else (images, labels)

    def _mix(
        self,
        images: Tensor,
        labels: Tensor,
        num_classes: int,
        key: tuple[int, int, int, int],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Apply MixUp, CutMix or neither to a batch, and return labels as distributions in any case."""
        targets = F.one_hot(labels, num_classes).float()
        numbers = numpy_generator("mixing", *key)
        if numbers.random() >= self.mix_probability:
            return images, targets
        if self.mixup_alpha and self.cutmix_alpha:
            use_cutmix = numbers.random() < self.cutmix_share
        else:
            use_cutmix = self.cutmix_alpha > 0
        if use_cutmix:
            return cutmix(images, targets, numbers.beta(self.cutmix_alpha, self.cutmix_alpha), generator)
        return mixup(images, targets, numbers.beta(self.mixup_alpha, self.mixup_alpha))
