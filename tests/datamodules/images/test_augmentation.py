"""Augmentation of batches against one image at a time: padding and slicing in numpy, formulas by hand, torchvision."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from datamodules.images.augmentation import (
    Augmentation,
    alternating_sides,
    cutmix,
    cutout,
    fill_rectangles,
    flip_where,
    mixup,
    pad_crop,
    random_erasing,
    shrink,
)

FILL = (0.5, 0.25, 1.0)
COLOUR = [128, 64, 255]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(number: int, height: int = 12, width: int = 9) -> Tensor:
    return torch.randint(0, 256, (number, 3, height, width), generator=generator(7), dtype=torch.uint8)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("zero", "constant")])
@pytest.mark.parametrize("padding", [1, 4])
def test_pad_crop_equals_padding_and_slicing(mode: Any, numpy_mode: Any, padding: int) -> None:
    images = random_images(64)
    crops = pad_crop(images, padding, mode, generator(1))
    tops, lefts = torch.randint(0, 2 * padding + 1, (2, 64), generator=generator(1)).tolist()
    for image, crop, top, left in zip(images, crops, tops, lefts, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)), mode=numpy_mode)
        assert np.array_equal(crop.numpy(), padded[:, top : top + 12, left : left + 9])
    assert set(tops) == set(lefts) == set(range(2 * padding + 1))


def test_only_the_chosen_images_are_flipped() -> None:
    images = random_images(4)
    flipped = flip_where(images, torch.tensor([True, False, False, True]))
    for number, (before, after) in enumerate(zip(images.numpy(), flipped.numpy(), strict=True)):
        assert np.array_equal(after, before[:, :, ::-1] if number in (0, 3) else before)


def test_random_flip_flips_half() -> None:
    images = random_images(2000, 1, 2)
    augmented, _ = call(Augmentation(flip="random"), images)
    flipped = (augmented != images).any(dim=(1, 2, 3))
    assert abs(flipped.float().mean().item() - 0.5) < 0.05


@pytest.mark.parametrize("seed", [0, 3, 2**32 - 1])
def test_alternating_flip_shows_the_other_side_in_every_other_epoch(seed: int) -> None:
    index = torch.arange(10_000)
    sides = [alternating_sides(index, epoch, seed=seed) for epoch in range(4)]
    assert torch.equal(sides[0], ~sides[1])
    assert torch.equal(sides[0], sides[2])
    assert torch.equal(sides[1], sides[3])
    assert abs(sides[0].float().mean().item() - 0.5) < 0.02
    # Neighbours are independent, and another seed flips another half.
    assert abs((sides[0][1:] == sides[0][:-1]).float().mean().item() - 0.5) < 0.02
    assert abs((sides[0] == alternating_sides(index, 0, seed=4)).float().mean().item() - 0.5) < 0.02
    # The side is a property of the image, not of its position in the batch.
    order = torch.randperm(10_000)
    assert torch.equal(alternating_sides(order, 1, seed=seed), sides[1][order])


def test_filled_rectangles_equal_slices() -> None:
    bounds = torch.tensor([[-3, 2, 4, 5], [0, 0, 12, 9], [5, 6, 30, 30], [4, 4, 4, 8]])
    images = random_images(4)
    filled = fill_rectangles(images, bounds[:, 0], bounds[:, 1], bounds[:, 2], bounds[:, 3], FILL)
    for image, after, (top, left, bottom, right) in zip(images.numpy(), filled.numpy(), bounds.tolist(), strict=True):
        expected = image.copy()
        expected[:, max(top, 0) : bottom, max(left, 0) : right] = np.array(COLOUR)[:, None, None]
        assert np.array_equal(after, expected)


def test_cutout_covers_a_square_around_each_centre() -> None:
    images = random_images(50)
    covered = cutout(images, 4, FILL, generator(2))
    source = generator(2)
    rows = torch.randint(12, (50,), generator=source).tolist()
    columns = torch.randint(9, (50,), generator=source).tolist()
    for image, after, row, column in zip(images.numpy(), covered.numpy(), rows, columns, strict=True):
        expected = image.copy()
        for channel in range(3):
            expected[channel, max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = COLOUR[channel]
        assert np.array_equal(after, expected)


def test_random_erasing_covers_one_rectangle_of_the_right_size() -> None:
    images = torch.zeros(2000, 3, 32, 32, dtype=torch.uint8)
    erased = random_erasing(images, 0.4, FILL, generator(3))
    mask = (erased == torch.tensor(COLOUR, dtype=torch.uint8).view(1, 3, 1, 1)).all(1)
    assert torch.equal(erased.any(1), mask)
    touched = mask.flatten(1).any(1)
    assert abs(touched.float().mean().item() - 0.4) < 0.04
    heights, widths = mask[touched].any(2).sum(1), mask[touched].any(1).sum(1)
    areas = mask[touched].flatten(1).sum(1)
    assert torch.equal(areas, heights * widths)  # filled rectangles
    assert 0.015 < areas.min() / 1024 < 0.03
    assert 0.3 < areas.max() / 1024 < 0.36
    assert (heights / widths).max() < 4.5
    assert (widths / heights).max() < 4.5
    # Every row and every column is covered in some image.
    assert mask.any(0).any(0).all()
    assert mask.any(0).any(1).all()


def test_mixup_equals_the_formula() -> None:
    images, targets = random_images(5), torch.eye(5)
    mixed, labels = mixup(images, targets, 0.3)
    for number in range(5):
        partner = number - 1
        expected = 0.3 * images[number].double() + 0.7 * images[partner].double()
        assert torch.allclose(mixed[number].double(), expected, atol=1e-4)
        assert torch.allclose(labels[number], 0.3 * targets[number] + 0.7 * targets[partner])


def test_cutmix_pastes_the_partner_and_counts_its_pixels() -> None:
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 16, 12).clone()
    shares = []
    for seed in range(200):
        mixed, labels = cutmix(images, torch.eye(5), 0.6, generator(seed))
        for number in range(5):
            own = (mixed[number] == number).float().mean().item()
            assert labels[number, number].item() == pytest.approx(own, abs=1e-6)
            assert labels[number, number - 1].item() == pytest.approx(1 - own, abs=1e-6)
            pasted = (mixed[number, 0] != number).nonzero()
            if len(pasted):
                assert len(pasted) == math.prod((pasted.max(0).values - pasted.min(0).values + 1).tolist())
        shares.append(own)
    # A rectangle inside the image has the sides int(0.5 sqrt(0.4) side) * 2: 10 x 6 of 16 x 12.
    assert min(shares) == pytest.approx(1 - 60 / 192)


def call(augmentation: Augmentation, images: Tensor, **changes: Any) -> tuple[Tensor, Tensor]:
    arguments: dict[str, Any] = {"key": (0, 0, 0, 0), "num_classes": 4, "fill": FILL, "progress": 0.0} | changes
    positions = torch.arange(len(images))
    return augmentation(images, positions % 4, positions, **arguments)


def test_nothing_is_on_by_default() -> None:
    images = random_images(4)
    augmented, labels = call(Augmentation(), images)
    assert torch.equal(augmented, images)
    assert labels.tolist() == [0, 1, 2, 3]


EVERYTHING = Augmentation(
    crop_padding=2, flip="random", policy="trivial", cutout=4, erasing=0.5, mixup_alpha=0.5, cutmix_alpha=1.0
)


def test_a_batch_is_a_pure_function_of_its_key() -> None:
    images = random_images(32)
    before = images.clone()
    first, first_labels = call(EVERYTHING, images, key=(1, 2, 3, 0))
    torch.rand(5)  # the global generators must not matter
    again, again_labels = call(EVERYTHING, images, key=(1, 2, 3, 0))
    assert torch.equal(first, again)
    assert torch.equal(first_labels, again_labels)
    assert torch.equal(images, before)
    for place in range(4):
        key = [1, 2, 3, 0]
        key[place] += 1
        assert not torch.equal(first.float(), call(EVERYTHING, images, key=tuple(key))[0].float())


@pytest.mark.parametrize(
    ("options", "checksum"),
    [
        ({"crop_padding": 4, "crop_mode": "zero", "flip": "random"}, 2957285724),
        ({"crop_padding": 2, "flip": "alternating", "cutout": 4}, 1306220839),
        ({"erasing": 0.5}, 833670539),
        ({"cutmix_alpha": 1.0}, 1153680670),
    ],
)
def test_augmentation_is_that_of_earlier_versions_bit_for_bit(options: dict[str, Any], checksum: int) -> None:
    """The checksums are of what commit d9f9978 returned: a run that resumes must have the same images."""
    images = random_images(40)
    augmented = [call(Augmentation(**options), images, key=(5, 1, step, 0))[0] for step in range(3)]
    assert zlib.crc32(b"".join(each.numpy().tobytes() for each in augmented)) == checksum


def test_mixing_gives_distributions_with_the_given_probabilities() -> None:
    images = random_images(8)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    augmentation = Augmentation(mixup_alpha=1.0, cutmix_alpha=1.0, mix_probability=0.6, cutmix_share=0.25)
    for step in range(1000):
        mixed, labels = call(augmentation, images, key=(0, 0, step, 0))
        assert labels.shape == (8, 4)
        assert torch.allclose(labels.sum(1), torch.ones(8))
        kinds["mixup" if mixed.is_floating_point() else "none" if torch.equal(mixed, images) else "cutmix"] += 1
    # Some CutMix rectangles are empty and look like none.
    assert abs(kinds["mixup"] - 450) < 60
    assert abs(kinds["cutmix"] - 140) < 50


def test_mixup_shares_follow_the_beta_distribution() -> None:
    images = random_images(2)
    augmentation = Augmentation(mixup_alpha=0.2)
    shares = [call(augmentation, images, key=(0, 0, step, 0))[1][0, 0].item() for step in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)  # variance of Beta(a, a)


def test_sizes_grow_with_progress() -> None:
    augmentation = Augmentation(progressive_sizes=[(0.4, 6), (0.7, 8)])
    assert [augmentation.size_at(progress) for progress in (0.0, 0.39, 0.4, 0.69, 0.7, 1.0)] == [6, 6, 8, 8, None, None]
    images = random_images(4, 12, 12)
    small, _ = call(augmentation, images, progress=0.1)
    assert small.shape == (4, 3, 6, 6)
    assert small.dtype == torch.float32
    reference = v2.functional.resize(images.float(), [6, 6], antialias=True)
    assert torch.allclose(small, reference, atol=1e-3)
    assert torch.equal(call(augmentation, images, progress=0.7)[0], images)


def test_shrinking_keeps_a_flat_image_flat() -> None:
    assert torch.allclose(shrink(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8), 20), torch.tensor(200.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_padding": -1}, "augmentation.crop_padding must be an integer of at least 0, got -1"),
        ({"cutout": 2.5}, "augmentation.cutout must be an integer of at least 0, got 2.5"),
        ({"erasing": 1.5}, "augmentation.erasing must be a number from 0 to 1, got 1.5"),
        ({"mixup_alpha": -0.1}, "augmentation.mixup_alpha must be a number of at least 0, got -0.1"),
        ({"rand_magnitude": 31}, "augmentation.rand_magnitude must be at most 30, got 31"),
        ({"crop_mode": "edge"}, "augmentation.crop_mode must be one of 'reflect', 'zero', got 'edge'"),
        ({"flip": "vertical"}, "augmentation.flip must be one of 'none', 'random', 'alternating', got 'vertical'"),
        ({"policy": "auto"}, "augmentation.policy must be one of 'none', 'trivial', 'rand', got 'auto'"),
        ({"progressive_sizes": [(0.7, 20), (0.4, 24)]}, r"progressive_sizes .* increasing .*, got \[0.7, 0.4\]"),
        ({"progressive_sizes": [(1.5, 20)]}, r"progressive_sizes .* up to 1, got \[1.5\]"),
        ({"progressive_sizes": [(0.7, 0)]}, r"progressive_sizes must have sizes of at least 1, got \[\(0.7, 0\)\]"),
    ],
)
def test_invalid_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)


def test_a_mirrored_padding_as_large_as_the_image_is_named() -> None:
    with pytest.raises(ValueError, match=r"augmentation.crop_padding must be below the image size 9, got 9"):
        call(Augmentation(crop_padding=9), random_images(2))
