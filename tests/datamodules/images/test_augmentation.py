"""Batched augmentation against one image at a time.

Padding and slicing by numpy, formulas by hand, torchvision's ops.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2  # type: ignore[import-untyped]

from datamodules.images.augmentation import (
    Augmentation,
    alternating_sides,
    cutmix,
    cutout,
    flip_where,
    mixup,
    pad_crop,
    random_erasing,
    rectangles,
    shrink,
)
from datamodules.images.augmentation_policies import OPERATIONS, apply_operations, rand_augment, trivial_augment
from utils.random_streams import torch_generator

FILL = (0.5, 0.25, 1.0)
COLOUR = [128, 64, 255]


def random_images(number: int, height: int = 12, width: int = 9) -> Tensor:
    return torch.randint(0, 256, (number, 3, height, width), generator=torch_generator(7), dtype=torch.uint8)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("zero", "constant")])
@pytest.mark.parametrize("padding", [1, 4])
def test_pad_crop_equals_padding_and_slicing(mode, numpy_mode, padding: int) -> None:
    images = random_images(64)
    crops = pad_crop(images, padding, mode, torch_generator(1))
    tops, lefts = torch.randint(0, 2 * padding + 1, (2, 64), generator=torch_generator(1)).tolist()
    for image, crop, top, left in zip(images, crops, tops, lefts, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)), mode=numpy_mode)
        assert np.array_equal(crop.numpy(), padded[:, top : top + 12, left : left + 9])
    assert set(tops) == set(lefts) == set(range(2 * padding + 1))


def test_flip_mirrors_the_chosen_images_alone() -> None:
    images = random_images(4)
    flipped = flip_where(images, torch.tensor([True, False, False, True]))
    for number, (before, after) in enumerate(zip(images.numpy(), flipped.numpy(), strict=True)):
        assert np.array_equal(after, before[:, :, ::-1] if number in (0, 3) else before)


def test_random_flip_takes_half() -> None:
    images = random_images(2000, 1, 2)
    augmented, _ = call(Augmentation(flip="random"), images)
    flipped = (augmented != images).any(dim=(1, 2, 3))
    assert abs(flipped.float().mean().item() - 0.5) < 0.05


def test_alternating_flip_takes_the_largest_seed() -> None:
    assert alternating_sides(torch.arange(8), 0, seed=2**32 - 1).shape == (8,)


def test_alternating_flip_shows_the_other_side_every_epoch() -> None:
    index = torch.arange(10_000)
    sides = [alternating_sides(index, epoch, seed=3) for epoch in range(4)]
    assert torch.equal(sides[0], ~sides[1]) and torch.equal(sides[0], sides[2]) and torch.equal(sides[1], sides[3])
    assert abs(sides[0].float().mean().item() - 0.5) < 0.02
    # Neighbours are independent, and another seed is another half.
    assert abs((sides[0][1:] == sides[0][:-1]).float().mean().item() - 0.5) < 0.02
    assert abs((sides[0] == alternating_sides(index, 0, seed=4)).float().mean().item() - 0.5) < 0.02
    # The side belongs to the image, wherever it stands in the batch.
    order = torch.randperm(10_000)
    assert torch.equal(alternating_sides(order, 1, seed=3), sides[1][order])


def test_rectangles_equal_slices() -> None:
    bounds = torch.tensor([[-3, 2, 4, 5], [0, 0, 12, 9], [5, 6, 30, 30], [4, 4, 4, 8]])
    masks = rectangles(bounds[:, 0], bounds[:, 1], bounds[:, 2], bounds[:, 3], 12, 9)
    for mask, (top, left, bottom, right) in zip(masks, bounds.tolist(), strict=True):
        expected = np.zeros((1, 12, 9), dtype=bool)
        expected[:, max(top, 0) : bottom, max(left, 0) : right] = True
        assert np.array_equal(mask.numpy(), expected)


def test_cutout_covers_a_square_around_each_centre() -> None:
    images = random_images(50)
    covered = cutout(images, 4, FILL, torch_generator(2))
    generator = torch_generator(2)
    rows = torch.randint(12, (50,), generator=generator).tolist()
    columns = torch.randint(9, (50,), generator=generator).tolist()
    for image, after, row, column in zip(images.numpy(), covered.numpy(), rows, columns, strict=True):
        expected = image.copy()
        for channel in range(3):
            expected[channel, max(row - 2, 0) : row + 2, max(column - 2, 0) : column + 2] = COLOUR[channel]
        assert np.array_equal(after, expected)


def test_random_erasing_covers_one_rectangle_of_the_right_size() -> None:
    images = torch.zeros(2000, 3, 32, 32, dtype=torch.uint8)
    erased = random_erasing(images, 0.4, FILL, torch_generator(3))
    mask = (erased == torch.tensor(COLOUR, dtype=torch.uint8).view(1, 3, 1, 1)).all(1)
    assert torch.equal(erased.any(1), mask)
    touched = mask.flatten(1).any(1)
    assert abs(touched.float().mean().item() - 0.4) < 0.04
    heights, widths = mask[touched].any(2).sum(1), mask[touched].any(1).sum(1)
    areas = mask[touched].flatten(1).sum(1)
    assert torch.equal(areas, heights * widths)  # filled rectangles
    assert 0.015 < areas.min() / 1024 < 0.03 and 0.3 < areas.max() / 1024 < 0.36
    assert (heights / widths).max() < 4.5 and (widths / heights).max() < 4.5
    # Every row and every column is reached.
    assert mask.any(0).any(0).all() and mask.any(0).any(1).all()


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
        mixed, labels = cutmix(images, torch.eye(5), 0.6, torch_generator(seed))
        for number in range(5):
            own = (mixed[number] == number).float().mean().item()
            assert labels[number, number].item() == pytest.approx(own, abs=1e-6)
            assert labels[number, number - 1].item() == pytest.approx(1 - own, abs=1e-6)
            pasted = (mixed[number, 0] != number).nonzero()
            if len(pasted):
                assert len(pasted) == math.prod((pasted.max(0).values - pasted.min(0).values + 1).tolist())
        shares.append(own)
    # An uncut rectangle has sides int(0.5 sqrt(0.4) side) * 2: 10 x 6 of 16 x 12.
    assert min(shares) == pytest.approx(1 - 60 / 192)


def call(augmentation: Augmentation, images: Tensor, labels: Tensor | None = None, **changes) -> tuple[Tensor, Tensor]:
    arguments: dict[str, Any] = {"key": (0, 0, 0, 0), "num_classes": 4, "fill": FILL, "progress": 0.0} | changes
    labels = torch.arange(len(images)) % 4 if labels is None else labels
    return augmentation(images, labels, torch.arange(len(images)), **arguments)


def test_nothing_is_on_by_default() -> None:
    images = random_images(4)
    augmented, labels = call(Augmentation(), images)
    assert torch.equal(augmented, images) and labels.tolist() == [0, 1, 2, 3]


EVERYTHING = Augmentation(
    crop_padding=2, flip="random", policy="trivial", cutout=4, erasing=0.5, mixup_alpha=0.5, cutmix_alpha=1.0
)


def test_a_batch_is_a_pure_function_of_its_key() -> None:
    images = random_images(32)
    before = images.clone()
    first, first_labels = call(EVERYTHING, images, key=(1, 2, 3, 0))
    torch.rand(5)  # the global generators play no part
    again, again_labels = call(EVERYTHING, images, key=(1, 2, 3, 0))
    assert torch.equal(first, again) and torch.equal(first_labels, again_labels)
    assert torch.equal(images, before)
    for place in range(4):
        key = [1, 2, 3, 0]
        key[place] += 1
        assert not torch.equal(first.float(), call(EVERYTHING, images, key=tuple(key))[0].float())


def test_mixing_gives_distributions_and_keeps_to_its_chances() -> None:
    images = random_images(8)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    augmentation = Augmentation(mixup_alpha=1.0, cutmix_alpha=1.0, mix_probability=0.6, cutmix_share=0.25)
    for step in range(1000):
        mixed, labels = call(augmentation, images, key=(0, 0, step, 0))
        assert labels.shape == (8, 4) and torch.allclose(labels.sum(1), torch.ones(8))
        kinds["mixup" if mixed.is_floating_point() else "none" if torch.equal(mixed, images) else "cutmix"] += 1
    # Some CutMix rectangles are empty and look like none.
    assert abs(kinds["mixup"] - 450) < 60 and abs(kinds["cutmix"] - 140) < 50


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
    assert small.shape == (4, 3, 6, 6) and small.dtype == torch.float32
    reference = v2.functional.resize(images.float(), [6, 6], antialias=True)
    assert torch.allclose(small, reference, atol=1e-3)
    assert torch.equal(call(augmentation, images, progress=0.7)[0], images)


def test_shrinking_keeps_a_flat_image_flat() -> None:
    assert torch.allclose(shrink(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8), 20), torch.tensor(200.0))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_equal_torchvision_image_by_image(name: str, sign: int) -> None:
    reference = v2.TrivialAugmentWide()
    magnitudes, signed = reference._AUGMENTATION_SPACE[name]
    table = magnitudes(31, 32, 32)
    levels = (torch.zeros(31) if table is None else table.float()) * (sign if signed else 1)
    smooth = torch.nn.functional.interpolate(random_images(31, 8, 8).float(), size=(32, 32), mode="bilinear")
    images = smooth.to(torch.uint8)
    batched = apply_operations(images, torch.full((31,), OPERATIONS.index(name)), levels)
    for image, level, result in zip(images, levels.tolist(), batched, strict=True):
        expected = reference._apply_image_or_video_transform(
            image, name, level, InterpolationMode.NEAREST, {torch.Tensor: None}
        )
        difference = (result.int() - expected.int()).abs()
        # torchvision blends by a double factor: a value next to an integer may be cut to the other side.
        tolerance = 1 if name in ("Brightness", "Color", "Contrast", "Sharpness") else 0
        assert difference.max() <= tolerance and (difference > 0).float().mean() < 0.1


def test_a_batch_of_many_operations_treats_each_image_as_if_alone() -> None:
    images = random_images(42, 16, 16)
    operations = torch.arange(42) % 14
    magnitudes = torch.where(operations == OPERATIONS.index("Posterize"), 4.0, 0.5)
    together = apply_operations(images, operations, magnitudes)
    for number in range(42):
        one = slice(number, number + 1)
        assert torch.equal(together[one], apply_operations(images[one], operations[one], magnitudes[one]))


@pytest.mark.parametrize(
    ("reference", "ours"),
    [
        (v2.TrivialAugmentWide(), lambda images, generator: trivial_augment(images, generator)),
        (v2.RandAugment(num_ops=1, magnitude=20), lambda images, generator: rand_augment(images, 1, 20, generator)),
    ],
)
def test_policies_draw_as_torchvision_does(reference, ours, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which operations at which magnitudes, by count: both draw uniformly from the same table."""
    drawn: list[tuple[str, float]] = []
    mine: list[tuple[str, float]] = []

    def record_theirs(self: object, image: Tensor, name: str, magnitude: float, **_: object) -> Tensor:
        drawn.append((name, magnitude))
        return image

    def record_ours(images: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
        mine.extend(zip((OPERATIONS[number] for number in operations), magnitudes.tolist(), strict=True))
        return images

    monkeypatch.setattr(type(reference), "_apply_image_or_video_transform", record_theirs)
    monkeypatch.setattr("datamodules.images.augmentation_policies.apply_operations", record_ours)
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(4000):
            reference(image)
    ours(image.expand(8000, 3, 32, 32), torch_generator(0))
    for name in OPERATIONS:
        theirs, own = ([magnitude for drawn_name, magnitude in draws if drawn_name == name] for draws in (drawn, mine))
        assert len(theirs) / 4000 == pytest.approx(1 / 14, abs=0.02) and len(own) / 8000 == pytest.approx(
            1 / 14, abs=0.015
        )
        assert {round(abs(value), 4) for value in own} == {round(abs(value), 4) for value in theirs}
        assert np.mean(np.sign(own)) == pytest.approx(np.mean(np.sign(theirs)), abs=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_padding": -1}, "crop_padding is -1"),
        ({"erasing": 1.5}, "erasing is 1.5"),
        ({"rand_magnitude": 31}, "rand_magnitude is 31"),
        ({"flip": "vertical"}, "flip is 'vertical'"),
        ({"progressive_sizes": [(0.7, 20), (0.4, 24)]}, "progressive_sizes"),
        ({"progressive_sizes": [(0.7, 0)]}, "progressive_sizes"),
    ],
)
def test_bad_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)


def test_a_mirrored_padding_as_large_as_the_image_is_named() -> None:
    with pytest.raises(ValueError, match="crop_padding is 9: it must be below the image size 9"):
        call(Augmentation(crop_padding=9), random_images(2))
