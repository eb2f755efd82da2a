"""Mean and standard deviation with which pixels are normalised: those of the data, or those of ImageNet."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from datamodules.images.image_set import channel_statistics

Normalization = Literal["data", "imagenet"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per channel with which torchvision's weights were trained."""


def mean_and_std(
    normalization: Normalization, images: Tensor
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation of each channel, of pixels scaled to [0, 1].

    Args:
        normalization: Whether they are those of the images or those of ImageNet.
        images: The training images, uint8 [N, 3, H, W].
    """
    return IMAGENET if normalization == "imagenet" else channel_statistics(images)
