"""TrivialAugment and RandAugment on whole batches: images that get the same operation are processed together.

Each image has its own operation and magnitude, as when torchvision transforms images one by one, and gets the same
pixels, but a batch takes no more than fourteen calls. Operations, ranges and uint8 arithmetic are those of
torchvision.transforms.v2 (nearest neighbour, black outside the image).

Legend of shapes: B images of a batch, N of them with the same operation, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.devices import send

OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
_SIGNED = torch.tensor([1 <= number <= 9 for number in range(len(OPERATIONS))])
_BINS = 31  # number of levels of magnitude


def _magnitudes(ends: dict[str, float], fewest_bits: int) -> Tensor:
    """Return the magnitude of each operation at each level, [operations, 31], as in torchvision's tables.

    Args:
        ends: Magnitude at the highest level; 0 at the lowest.
        fewest_bits: Number of bits that Posterize keeps at the highest level.
    """
    table = torch.zeros(len(OPERATIONS), _BINS)
    for name, end in ends.items():
        table[OPERATIONS.index(name)] = torch.linspace(0.0, end, _BINS)
    table[OPERATIONS.index("Posterize")] = (8 - torch.arange(_BINS) / ((_BINS - 1) / (8 - fewest_bits))).round()
    table[OPERATIONS.index("Solarize")] = torch.linspace(1.0, 0.0, _BINS)
    return table


_ENHANCEMENTS = ("Brightness", "Color", "Contrast", "Sharpness")


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply TrivialAugment, wide space (Mueller and Hutter 2021): one operation per image, at a random magnitude.

    Args:
        images: uint8 [B, 3, H, W].
        generator: CPU generator of operations, magnitudes and signs.
    """
    table = _magnitudes(
        {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}
        | dict.fromkeys(_ENHANCEMENTS, 0.99),
        fewest_bits=2,
    )
    operations = torch.randint(len(OPERATIONS), (len(images),), generator=generator)
    levels = torch.randint(_BINS, (len(images),), generator=generator)
    return _apply_signed(images, operations, table[operations, levels], generator)


def rand_augment(images: Tensor, number: int, magnitude: int, generator: torch.Generator) -> Tensor:
    """Apply RandAugment (Cubuk et al. 2020): `number` random operations per image, all at the same magnitude.

    Args:
        images: uint8 [B, 3, H, W].
        number: Number of operations per image.
        magnitude: Level of magnitude, from 0 to 30.
        generator: CPU generator of operations and signs.
    """
    height, width = images.shape[2:]
    table = _magnitudes(
        {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0}
        | {"TranslateX": 150.0 / 331.0 * width, "TranslateY": 150.0 / 331.0 * height}
        | dict.fromkeys(_ENHANCEMENTS, 0.9),
        fewest_bits=4,
    )
    for _ in range(number):
        operations = torch.randint(len(OPERATIONS), (len(images),), generator=generator)
        images = _apply_signed(images, operations, table[operations, magnitude], generator)
    return images


def _apply_signed(images: Tensor, operations: Tensor, magnitudes: Tensor, generator: torch.Generator) -> Tensor:
    """Apply operations at their magnitudes, those of signed operations negated with probability 1/2."""
    negative = torch.rand(len(images), generator=generator) < 0.5
    magnitudes = torch.where(_SIGNED[operations] & negative, -magnitudes, magnitudes)
    return apply_operations(images, operations, magnitudes)


def apply_operations(images: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
    """Apply one operation to each image.

    Args:
        images: uint8 [B, 3, H, W].
        operations: Positions in `OPERATIONS`, int64 [B], on the CPU.
        magnitudes: float [B], on the CPU: shear factor, pixels, degrees, change of the blending factor 1, number of
            bits, or share of 255, depending on the operation.

    Returns:
        uint8 [B, 3, H, W].
    """
    result = images.clone()
    for number in sorted(set(operations.tolist())):
        if OPERATIONS[number] == "Identity":
            continue
        chosen = (operations == number).nonzero().flatten()
        magnitude, chosen = magnitudes[chosen], send(chosen, images.device)
        result.index_copy_(0, chosen, _operate(OPERATIONS[number], images.index_select(0, chosen), magnitude))
    return result


def _operate(name: str, images: Tensor, magnitude: Tensor) -> Tensor:
    """Apply one operation to images uint8 [N, 3, H, W], each at its own magnitude [N], which is on the CPU."""
    from torchvision.transforms.v2 import functional as tv

    if name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        return _warp(images, _inverse_matrices(name, magnitude, *images.shape[2:]))
    per_image = send(magnitude, images.device).view(-1, 1, 1, 1)
    if name == "Brightness":
        return _blend(images, torch.zeros_like(per_image), 1 + per_image)
    if name == "Color":
        return _blend(images, tv.rgb_to_grayscale(images), 1 + per_image)
    if name == "Contrast":
        return _blend(images, tv.rgb_to_grayscale(images).float().mean((1, 2, 3), keepdim=True), 1 + per_image)
    if name == "Sharpness":
        return _blend(images, _smooth(images), 1 + per_image)
    if name == "Posterize":
        return images & (256 - (1 << (8 - per_image.long()))).to(torch.uint8)
    if name == "Solarize":
        return torch.where(images >= 255 * per_image, 255 - images, images)
    result: Tensor = tv.autocontrast(images) if name == "AutoContrast" else tv.equalize(images)
    return result


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return factor * images + (1 - factor) * other, clamped to 0 to 255, as uint8."""
    return (images * factor + other * (1 - factor)).clamp_(0, 255).to(torch.uint8)


def _smooth(images: Tensor) -> Tensor:
    """Return images uint8 [N, 3, H, W], smoothed except at their borders.

    The result is that of torchvision's `adjust_sharpness(images, 0)`, which copies its kernel to the device and waits.
    """
    if min(images.shape[2:]) <= 2:
        return images
    kernel = torch.full((3, 1, 3, 3), 1 / 13, device=images.device)
    kernel[:, :, 1, 1] = 5 / 13
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images.float(), kernel, groups=3).round_().to(torch.uint8)
    return smooth


def _inverse_matrices(name: str, magnitude: Tensor, height: int, width: int) -> Tensor:
    """Return matrices [N, 2, 3] from a target pixel to its source, both in pixels from the centre.

    Shears keep the upper left corner in place, rotations the centre.
    """
    matrices = torch.eye(2, 3).repeat(len(magnitude), 1, 1)
    if name == "ShearX":
        matrices[:, 0, 1] = magnitude
        matrices[:, 0, 2] = magnitude * height / 2
    elif name == "ShearY":
        matrices[:, 1, 0] = magnitude
        matrices[:, 1, 2] = magnitude * width / 2
    elif name == "TranslateX":
        matrices[:, 0, 2] = -magnitude.trunc()
    elif name == "TranslateY":
        matrices[:, 1, 2] = -magnitude.trunc()
    else:
        angle = magnitude.deg2rad()
        matrices[:, 0, 0] = matrices[:, 1, 1] = angle.cos()
        matrices[:, 0, 1] = -angle.sin()
        matrices[:, 1, 0] = angle.sin()
    return matrices


def _warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Sample uint8 images [N, 3, H, W] at the nearest pixel of matrices times (x, y, 1); black outside.

    The matrices, [N, 2, 3], are on the CPU.
    """
    height, width = images.shape[2:]
    xs = torch.arange(width) - (width - 1) / 2
    ys = torch.arange(height) - (height - 1) / 2
    grid = torch.stack(
        [xs.expand(height, width), ys[:, None].expand(height, width), torch.ones_like(xs).expand(height, width)], -1
    )
    to_unit = matrices.transpose(1, 2) / torch.tensor([width / 2, height / 2])
    sources = send(grid.view(1, -1, 3), images.device) @ send(to_unit, images.device)  # [N, H * W, 2], in -1..1
    sampled = F.grid_sample(images.float(), sources.view(-1, height, width, 2), mode="nearest", align_corners=False)
    return sampled.round_().to(torch.uint8)
