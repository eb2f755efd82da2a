"""The views of an image that test-time augmentation averages over."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor


def tta_views(images: Tensor, translate: bool) -> Iterator[tuple[float, Tensor]]:
    """Yield the views of a batch, each with its weight; the weights sum to 1.

    The views are the images and their mirror images. With `translate` they are the six views of airbench (Keller
    Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.5): image and mirror image for half of the weight, and
    both shifted by one pixel up-left and down-right for the other half.

    Args:
        images: [B, 3, H, W], any dtype.
        translate: Whether to add the shifted views.

    Yields:
        (weight, view [B, 3, H, W]).
    """
    share = 0.25 if translate else 0.5
    yield share, images
    yield share, images.flip(-1)
    if not translate:
        return
    height, width = images.shape[-2:]
    # F.pad reflects floats only; pixel values up to 255 survive the round trip exactly.
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect").to(images.dtype)  # [B, 3, H+2, W+2]
    for offset in (0, 2):
        shifted = padded[..., offset : offset + height, offset : offset + width]
        yield 0.125, shifted
        yield 0.125, shifted.flip(-1)
