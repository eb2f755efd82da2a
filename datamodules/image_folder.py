"""Your own images, in one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from datamodules.images.base import ImageDataModule
from datamodules.images.files import cached_images, find_images
from datamodules.images.image_set import ImageSet, channel_statistics
from datamodules.trainer_state import stage_of
from utils.checks import check_fraction, check_positive_int

SPLITS = ("train", "val", "test")
"""Folders that hold the class folders of a split."""

_NO_ROOT = "data.root is missing: set it to the folder that contains train/<class>/ or <class>/ folders"


class ImageFolderDataModule(ImageDataModule):
    """Your own images of any size and mode, in one folder per class, resized once and held in memory as uint8.

    Two layouts are supported: `root/train/<class>/...` with `root/val/<class>/...` and `root/test/<class>/...`
    (torchvision's ImageFolder), or `root/<class>/...`. If validation or test has no folder, it is split off the
    training images, stratified. Images are cropped to their centred square before they are resized.

    Memory: 3 * image_size ** 2 bytes per image (150 MB for 1,000 images of 224 pixels).

    Args:
        root: The folder; may be null only for prediction with `predict_path`.
        image_size: Height and width in pixels; if null, the size that the checkpoint was trained on, else 32.
        validation_fraction: Share of the training images held out for validation if there is no `root/val`, at least 0
            and below 1; 0 disables validation.
        test_fraction: Share of the training images held out as the test set if there is no `root/test`, at least 0 and
            below 1.
        cache_dir: Folder that keeps the resized images until a file changes; if null, they are decoded at every start.
        **options: Arguments of `ImageDataModule`.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: A number is out of range, or the folder has no images, an empty or unknown class, or a file that
            cannot be decoded.
    """

    def __init__(
        self,
        root: str | None = None,
        image_size: int | None = None,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        cache_dir: str | None = ".cache/images",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if root is None and self.predict_path is None:
            raise ValueError(_NO_ROOT)
        self.root = Path(root) if root is not None else None
        self.image_size = None if image_size is None else check_positive_int("data.image_size", image_size)
        self.validation_fraction = check_fraction("data.validation_fraction", validation_fraction)
        self.test_fraction = check_fraction("data.test_fraction", test_fraction)
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        self.input_size = image_size or 32

    def prepare_data(self) -> None:
        """Resize every image into the cache, so that a bad one is found before training and ranks share the work."""
        if self._fits():
            self.load_training()
            if self._has("test"):
                self.load_test()

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        """Return training and validation images, and set `mean` and `std` to those of the training images."""
        train, _ = self._split_test(self._development())
        val: ImageSet | None
        if self._has("val"):
            val = self._read(self._folder() / "val")
        else:
            train, val = self._split_validation(train)
        if len(train.images) == 0:
            raise ValueError(
                f"data.root {self._folder()} has no images left for training: lower data.validation_fraction and "
                "data.test_fraction"
            )
        self.mean, self.std = channel_statistics(train.images)
        return train, val

    def test_path(self) -> str:
        """Return the folder, which has the test images in a folder or among the others."""
        return str(self.root)

    def load_test(self) -> ImageSet:
        """Return the images of `root/test`, else those split off the training images."""
        if self._has("test"):
            return self._read(self._folder() / "test")
        _, test = self._split_test(self._development())
        if test is None:
            raise ValueError(
                f"data.root {self._folder()} has no test images: add test/<class>/ or pass --data.test_fraction 0.1"
            )
        return test

    def prediction_size(self) -> int:
        """Return `image_size` if it is set, else the size that the model was trained on, else 32."""
        return self.image_size or super().prediction_size()

    def _folder(self) -> Path:
        if self.root is None:
            raise ValueError(_NO_ROOT)
        if not self.root.is_dir():
            raise FileNotFoundError(f"data.root {self.root} is not a folder: check the path")
        return self.root

    def _has(self, split: str) -> bool:
        return (self._folder() / split).is_dir()

    def _development(self) -> ImageSet:
        """Return the images for training and for what is split off them."""
        return self._read(self._folder() / "train" if self._has("train") else self._folder())

    def _split_test(self, images: ImageSet) -> tuple[ImageSet, ImageSet | None]:
        """Return the images without the test images, and the latter; None if they are elsewhere or there are none."""
        size = 0 if self._has("test") else round(self.test_fraction * len(images.images))
        return images.split(size, seed=self.split_seed, purpose="test_split")

    def _split_validation(self, images: ImageSet) -> tuple[ImageSet, ImageSet | None]:
        """Return the images without the validation images, and the latter; None if there are none."""
        size = round(self.validation_fraction * len(images.images))
        return images.split(size, seed=self.split_seed, purpose="validation_split")

    def _read(self, folder: Path) -> ImageSet:
        """Return all images of the class folders in `folder`."""
        classes = self._classes()
        self.class_names = classes
        # Testing and predicting use the checkpoint's size; a fit chooses its own.
        self.input_size = self.image_size or (32 if self._fits() else self.prediction_size())
        paths, labels = [], []
        for name in class_folders(folder):
            if name not in classes:
                raise ValueError(f"{folder / name} is no class of this model or training set: rename or remove it")
            found = find_images(folder / name)
            paths += found
            labels += [classes.index(name)] * len(found)
        if not paths:
            raise ValueError(f"{folder} has no class folders: put images into {folder}/<class>/")
        images = cached_images(paths, self.input_size, folder, self.cache_dir)
        return ImageSet(images, torch.tensor(labels), [str(path) for path in paths])

    def _classes(self) -> list[str]:
        """Return the class names: the model's if it knows every folder, else those of the folders.

        Training folders come first, then those of validation and of test.
        """
        root = self._folder()
        candidates = [root / "train", root, root / "val", root / "test"]
        names = next((found for folder in candidates if (found := class_folders(folder))), None)
        if names is None:
            raise ValueError(f"data.root {root} has no class folders: put images into train/<class>/ or <class>/")
        known = None if self._fits() else self.model_class_names()
        return list(known) if known and set(names) <= set(known) else names

    def _fits(self) -> bool:
        """Return whether this is a fit, or use without a trainer."""
        return self.trainer is None or stage_of(self.trainer) == "fit"


def class_folders(folder: Path) -> list[str]:
    """Return the names of the class folders in `folder`, sorted: all but hidden ones and those of a split."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in SPLITS
    )
