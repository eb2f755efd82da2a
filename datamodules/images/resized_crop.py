"""RandomResizedCrop on whole batches: random crops, resized to the size of the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.devices import send

RATIOS = (3 / 4, 4 / 3)
"""Aspect ratios of the crops, width to height."""


def resized_crop(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """Crop a random part of each image and resize it to the image's size, bilinear.

    Source: Szegedy et al. 2015, arXiv:1409.4842, section 6; as torchvision's RandomResizedCrop. A part is never larger
    than the image, so that it is only magnified, which needs no antialiasing.

    Args:
        images: uint8 [B, C, H, W].
        smallest: Smallest share of the image's area in a crop, above 0 and up to 1; the largest is 1.
        generator: Source of all random numbers.

    Returns:
        uint8 [B, C, H, W].
    """
    height, width = images.shape[2:]
    top, left, box_height, box_width = random_boxes(len(images), height, width, smallest, generator)
    rows, columns = _places(top, box_height, height), _places(left, box_width, width)  # [B, H], [B, W]
    rows, columns = send(rows, images.device), send(columns, images.device)
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=3)  # [B, H, W, 2]
    resized = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return resized.round().to(torch.uint8)


def random_boxes(
    batch: int, height: int, width: int, smallest: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return top, left, height and width of a random part of each image, float [B] with integer values.

    As in torchvision, ten parts are drawn per image and the first that fits inside it is used; if none fits, it is the
    largest centred part with an allowed aspect ratio.
    """
    area = height * width * torch.empty(batch, 10).uniform_(smallest, 1.0, generator=generator)
    logs = [math.log(ratio) for ratio in RATIOS]
    ratio = torch.empty(batch, 10).uniform_(logs[0], logs[1], generator=generator).exp()
    heights, widths = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    box_height = torch.where(found, heights.gather(1, first).flatten(), float(min(height, round(width / RATIOS[0]))))
    box_width = torch.where(found, widths.gather(1, first).flatten(), float(min(width, round(height * RATIOS[1]))))
    spare_height, spare_width = height - box_height, width - box_width
    top = (torch.rand(batch, generator=generator) * (spare_height + 1)).floor()
    left = (torch.rand(batch, generator=generator) * (spare_width + 1)).floor()
    top = torch.where(found, top, (spare_height / 2).floor())
    left = torch.where(found, left, (spare_width / 2).floor())
    return top, left, box_height, box_width


def _places(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return where `size` pixels of the resized crop are in the image, float [B, size], as `grid_sample` counts.

    They stay between the centres of the crop's first and last pixel, so that pixels outside the crop have no effect.
    """
    steps = (torch.arange(size) + 0.5) * (length[:, None] / size) - 0.5  # [B, size], from the crop's first pixel
    steps = torch.minimum(steps.clamp(min=0), length[:, None] - 1)
    return (start[:, None] + steps + 0.5) * (2 / size) - 1
