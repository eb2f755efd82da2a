"""The digits: where every image is, and what became of its pixels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from datamodules.digits import DigitsDataModule
from datamodules.images.image_set import channel_statistics


@pytest.mark.parametrize("validation_size", [0, 180])
def test_every_digit_is_in_one_split(validation_size: int) -> None:
    module = DigitsDataModule(validation_size=validation_size)
    module.setup("fit")
    assert (module.val_set is None) == (validation_size == 0)
    parts = [part for part in (module.train_set, module.val_set, module.test_set) if part is not None]
    sizes = [len(part.images) for part in parts]
    assert sizes == ([1437, 360] if validation_size == 0 else [1257, 180, 360])
    target = load_digits().target
    for part in parts:
        counts = torch.bincount(part.labels, minlength=10) / len(part.labels)
        assert torch.allclose(counts.double(), torch.from_numpy(np.bincount(target) / 1797), atol=0.006)
    assert torch.equal(
        torch.bincount(torch.cat([part.labels for part in parts])), torch.from_numpy(np.bincount(target))
    )
    assert len(torch.cat([part.images for part in parts]).flatten(1).unique(dim=0)) >= 1790


def test_mean_and_standard_deviation_are_known_at_every_stage() -> None:
    for stage in ("fit", "validate", "test", "predict"):
        module = DigitsDataModule()
        module.setup(stage)
        assert (module.mean, module.std) == channel_statistics(module.train_set.images)


def test_pixels_are_those_of_the_enlarged_scans() -> None:
    module = DigitsDataModule()
    scans = {image.tobytes() for image in load_digits().images.round().astype(np.uint8)}
    # Each of the 32 rows is a weighted mean of two of the 8 rows of the scan, and so are the columns: the pseudoinverse
    # of the weights gives the scan back.
    weights = torch.zeros(32, 8, dtype=torch.float64)
    for row in range(32):
        centre = min(max((row + 0.5) / 4 - 0.5, 0), 7)
        low = int(centre)
        weights[row, low] += 1 - (centre - low)
        weights[row, min(low + 1, 7)] += centre - low
    inverse = torch.linalg.pinv(weights)
    images = module.test_set.images
    assert images.shape[1:] == (3, 32, 32)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    small = inverse @ images[:, 0].double() @ inverse.T * 16 / 255
    restored = small.round().clamp(0, 16).to(torch.uint8).numpy()
    assert all(image.tobytes() in scans for image in restored)


def test_the_test_set_does_not_depend_on_the_seed_of_the_run() -> None:
    first, second, other = DigitsDataModule(seed=0), DigitsDataModule(seed=1), DigitsDataModule(split_seed=1)
    assert torch.equal(first.test_set.images, second.test_set.images)
    assert not torch.equal(first.test_set.labels, other.test_set.labels)


@pytest.mark.parametrize("size", [-1, 1001])
def test_invalid_validation_sizes_are_named(size: int) -> None:
    with pytest.raises(ValueError, match=f"data.validation_size must be from 0 to 1000, got {size}"):
        DigitsDataModule(validation_size=size)


def test_without_scikit_learn_the_error_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"^DigitsDataModule needs scikit-learn: pip install scikit-learn$"):
        DigitsDataModule().setup("fit")
