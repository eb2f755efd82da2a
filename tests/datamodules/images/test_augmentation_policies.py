"""Augmentation policies against torchvision, one image at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from datamodules.images.augmentation_policies import OPERATIONS, apply_operations, rand_augment, trivial_augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(number: int, size: int) -> Tensor:
    return torch.randint(0, 256, (number, 3, size, size), generator=generator(7), dtype=torch.uint8)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_equal_torchvision_image_by_image(name: str, sign: int) -> None:
    reference = v2.TrivialAugmentWide()
    magnitudes, signed = reference._AUGMENTATION_SPACE[name]
    table = magnitudes(31, 32, 32)
    levels = (torch.zeros(31) if table is None else table.float()) * (sign if signed else 1)
    smooth = torch.nn.functional.interpolate(random_images(31, 8).float(), size=(32, 32), mode="bilinear")
    images = smooth.to(torch.uint8)
    batched = apply_operations(images, torch.full((31,), OPERATIONS.index(name)), levels)
    for image, level, result in zip(images, levels.tolist(), batched, strict=True):
        expected = reference._apply_image_or_video_transform(
            image, name, level, InterpolationMode.NEAREST, {torch.Tensor: None}
        )
        difference = (result.int() - expected.int()).abs()
        # torchvision blends with a factor in double precision: a value next to an integer may be truncated to another.
        assert difference.max() <= (1 if name in ("Brightness", "Color", "Contrast", "Sharpness") else 0)
        assert (difference > 0).float().mean() < 0.1


def test_a_batch_of_many_operations_treats_each_image_as_if_alone() -> None:
    images = random_images(42, 16)
    operations = torch.arange(42) % 14
    magnitudes = torch.where(operations == OPERATIONS.index("Posterize"), 4.0, 0.5)
    together = apply_operations(images, operations, magnitudes)
    for number in range(42):
        one = slice(number, number + 1)
        assert torch.equal(together[one], apply_operations(images[one], operations[one], magnitudes[one]))


@pytest.mark.parametrize(
    ("reference", "policy"),
    [
        (v2.TrivialAugmentWide(), trivial_augment),
        (v2.RandAugment(num_ops=1, magnitude=20), lambda images, source: rand_augment(images, 1, 20, source)),
    ],
)
def test_policies_sample_as_torchvision_does(
    reference: v2.Transform, policy: Callable[[Tensor, torch.Generator], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which operations at which magnitudes, by count: both sample uniformly from the same table."""
    theirs: list[tuple[str, float]] = []
    ours: list[tuple[str, float]] = []

    def record_theirs(self: object, image: Tensor, name: str, magnitude: float, **_: object) -> Tensor:
        theirs.append((name, magnitude))
        return image

    def record_ours(images: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
        ours.extend(zip((OPERATIONS[number] for number in operations), magnitudes.tolist(), strict=True))
        return images

    monkeypatch.setattr(type(reference), "_apply_image_or_video_transform", record_theirs)
    monkeypatch.setattr("datamodules.images.augmentation_policies.apply_operations", record_ours)
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(4000):
            reference(image)
    policy(image.expand(8000, 3, 32, 32), generator())
    for name in OPERATIONS:
        expected, found = ([value for other, value in drawn if other == name] for drawn in (theirs, ours))
        assert len(expected) / 4000 == pytest.approx(1 / 14, abs=0.02)
        assert len(found) / 8000 == pytest.approx(1 / 14, abs=0.015)
        assert {round(abs(value), 4) for value in found} == {round(abs(value), 4) for value in expected}
        assert np.mean(np.sign(found)) == pytest.approx(np.mean(np.sign(expected)), abs=0.2)


def test_rand_augment_applies_several_operations_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []

    def record(images: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
        assert (images == len(drawn)).all()  # what the operation before returned
        drawn.append(operations.tolist())
        return images + 1

    monkeypatch.setattr("datamodules.images.augmentation_policies.apply_operations", record)
    result = rand_augment(torch.zeros(50, 3, 8, 8, dtype=torch.uint8), 3, 10, generator())
    assert (result == 3).all()
    assert len({tuple(operations) for operations in drawn}) == 3
