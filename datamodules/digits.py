"""Handwritten digits bundled with scikit-learn: real images without a download.

This is the shortest datamodule and the one to copy. No other file needs to change: a config finds the class by its
name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet, channel_statistics, stratified_split

TEST_SIZE = 360


class DigitsDataModule(ImageDataModule):
    """Handwritten digits: 1,797 scans of 8x8 pixels in 17 shades of grey, enlarged to 3x32x32.

    Source: UCI, "Optical Recognition of Handwritten Digits". 360 of the images are the test set; both splits are
    stratified.

    Args:
        validation_size: Number of training images held out for validation, 0 to 1000; 0 disables validation.
        **options: Arguments of `ImageDataModule`.

    Raises:
        ValueError: A number is out of range, or scikit-learn is not installed.
    """

    def __init__(
        self,
        validation_size: int = 180,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 <= validation_size <= 1000:
            raise ValueError(f"data.validation_size must be from 0 to 1000, got {validation_size}")
        self.validation_size = validation_size
        self.class_names = [str(digit) for digit in range(10)]

    def setup(self, stage: str) -> None:
        """Load the training images at every stage: it takes milliseconds, and gives mean and standard deviation."""
        self._training_sets()
        super().setup(stage)

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        """Return the digits outside the test set, and set `mean` and `std` to those of the training images."""
        development, _ = self._split_test()
        train, val = development.hold_out_validation(self.validation_size, seed=self.split_seed)
        self.mean, self.std = channel_statistics(train.images)
        return train, val

    def test_path(self) -> str:
        """Return the name of the data set."""
        return "digits of scikit-learn"

    def load_test(self) -> ImageSet:
        """Return the digits of the test set."""
        _, test = self._split_test()
        return test

    def _split_test(self) -> tuple[ImageSet, ImageSet]:
        """Return the digits outside the test set and those in it."""
        digits = _digits()
        kept, test = stratified_split(digits.labels, TEST_SIZE, seed=self.split_seed, purpose="test_split")
        return digits.select(kept), digits.select(test)


def _digits() -> ImageSet:
    """Return all digits: 1,797 images of 3x32x32."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("DigitsDataModule needs scikit-learn: pip install scikit-learn") from error
    digits = load_digits()
    grey = torch.from_numpy(digits.images).float().unsqueeze(1) * (255 / 16)  # [N, 1, 8, 8]
    large = F.interpolate(grey, size=32, mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).repeat(1, 3, 1, 1)
    return ImageSet(images, torch.from_numpy(digits.target).long(), source="scikit-learn's digits")
