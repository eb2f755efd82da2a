"""The handwritten digits bundled with scikit-learn: real images that need no download."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet, channel_statistics, stratified_split

TEST_SIZE = 360


class DigitsDataModule(ImageDataModule):
    """1,797 scans of digits, 8x8 in 17 greys (UCI "Optical Recognition of Handwritten Digits"), brought to 3x32x32.

    360 of them are the test set. Both splits are stratified.

    Args:
        validation_size: Number of training images set apart for validation; 0: none.
        **options: Arguments of `ImageDataModule`.

    Raises:
        ValueError: a size that is not possible.
    """

    def __init__(
        self,
        validation_size: int = 180,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 <= validation_size <= 1000:
            raise ValueError(f"data.validation_size is {validation_size}: it must be from 0 to 1000")
        self.validation_size = validation_size
        self.class_names = [str(digit) for digit in range(10)]

    def setup(self, stage: str) -> None:
        # Loading takes milliseconds, so mean and std are there at every stage.
        self._training_sets()

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        images, labels = _digits()
        development, _ = stratified_split(labels, TEST_SIZE, seed=self.split_seed, purpose="test_split")
        images, labels = images[development], labels[development]
        train, val = stratified_split(labels, self.validation_size, seed=self.split_seed, purpose="validation_split")
        self.mean, self.std = channel_statistics(images[train])
        val_set = ImageSet(images[val], labels[val]) if self.validation_size else None
        return ImageSet(images[train], labels[train]), val_set

    def load_test(self) -> ImageSet:
        images, labels = _digits()
        _, test = stratified_split(labels, TEST_SIZE, seed=self.split_seed, purpose="test_split")
        return ImageSet(images[test], labels[test])


def _digits() -> tuple[Tensor, Tensor]:
    """All digits: images uint8 [1797, 3, 32, 32], labels int64 [1797]."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    digits = load_digits()
    grey = torch.from_numpy(digits.images).float().unsqueeze(1) * (255 / 16)  # [N, 1, 8, 8]
    large = F.interpolate(grey, size=32, mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).repeat(1, 3, 1, 1), torch.from_numpy(digits.target).long()
