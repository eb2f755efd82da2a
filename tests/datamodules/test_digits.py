"""The digits: where every image went, and what became of its pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from datamodules.digits import DigitsDataModule


def test_every_digit_is_in_one_split() -> None:
    module = DigitsDataModule()
    module.setup("fit")
    assert module.val_set is not None
    parts = [module.train_set, module.val_set, module.test_set]
    assert [len(part.images) for part in parts] == [1257, 180, 360]
    target = load_digits().target
    for part in parts:
        counts = torch.bincount(part.labels, minlength=10) / len(part.labels)
        assert torch.allclose(counts.double(), torch.from_numpy(np.bincount(target) / 1797), atol=0.006)
    assert torch.equal(
        torch.bincount(torch.cat([part.labels for part in parts])), torch.from_numpy(np.bincount(target))
    )
    assert len(torch.cat([part.images for part in parts]).flatten(1).unique(dim=0)) >= 1790


def test_pixels_are_the_scans_made_larger() -> None:
    module = DigitsDataModule()
    scans = {image.tobytes() for image in load_digits().images.round().astype(np.uint8)}
    # A 4 x 4 block of the bilinear enlargement averages to nearly its own scan's pixel; the four middle pixels of
    # each block weigh their own scan pixel by (7/8 or 5/8)^2, so solving for it gives the scan back.
    weights = torch.zeros(32, 8, dtype=torch.float64)
    for row in range(32):
        centre = min(max((row + 0.5) / 4 - 0.5, 0), 7)
        low = int(centre)
        weights[row, low] += 1 - (centre - low)
        weights[row, min(low + 1, 7)] += centre - low
    inverse = torch.linalg.pinv(weights)
    images = module.test_set.images
    assert (
        images.shape[1:] == (3, 32, 32)
        and torch.equal(images[:, 0], images[:, 1])
        and torch.equal(images[:, 0], images[:, 2])
    )
    small = inverse @ images[:, 0].double() @ inverse.T * 16 / 255
    restored = small.round().clamp(0, 16).to(torch.uint8).numpy()
    assert all(image.tobytes() in scans for image in restored)


def test_the_test_set_is_the_same_for_every_seed() -> None:
    first, second, other = DigitsDataModule(seed=0), DigitsDataModule(seed=1), DigitsDataModule(split_seed=1)
    assert torch.equal(first.test_set.images, second.test_set.images)
    assert not torch.equal(first.test_set.labels, other.test_set.labels)


@pytest.mark.parametrize("size", [-1, 1001])
def test_impossible_validation_sizes_are_named(size: int) -> None:
    with pytest.raises(ValueError, match=f"data.validation_size is {size}"):
        DigitsDataModule(validation_size=size)
