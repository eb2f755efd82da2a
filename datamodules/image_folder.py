"""A user's own images, in folders named by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from datamodules.images.base import ImageDataModule
from datamodules.images.files import cached_images, find_images
from datamodules.images.image_set import ImageSet, channel_statistics, stratified_split
from utils.checks import check_fraction, check_positive_int

PARTS = ("train", "val", "test")


class ImageFolderDataModule(ImageDataModule):
    """Images in folders named by class, of any size and mode, resized once and held in memory as uint8.

    Two layouts are read: `root/train/<class>/...` with `root/val/<class>/...` and `root/test/<class>/...`
    (torchvision's ImageFolder), or `root/<class>/...`. Whichever of validation and test has no folder of its own is
    split off the training images, stratified. Images are cropped to their centred square before they are resized.

    Memory: 3 * image_size ** 2 bytes an image (150 MB for 1,000 images of 224 pixels).

    Args:
        root: The folder; not needed to predict with `predict_path`.
        image_size: Height and width in pixels; none: what the checkpoint was trained on, else 32.
        validation_fraction: Share of the training images set apart for validation where there is no `root/val`;
            0: none.
        test_fraction: Share of the training images set apart as the test set where there is no `root/test`; 0: none.
        cache_dir: Folder of the resized images, kept until a file changes; none: decode them at every start.
        **options: Arguments of `ImageDataModule`.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no images, an empty or unknown class, a file that is no image, a fraction outside 0..1.
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
            raise ValueError("data.root is missing: name the folder that holds train/<class>/ or <class>/ folders")
        self.root = Path(root) if root is not None else None
        self.image_size = None if image_size is None else check_positive_int("data.image_size", image_size)
        self.validation_fraction = check_fraction("data.validation_fraction", validation_fraction)
        self.test_fraction = check_fraction("data.test_fraction", test_fraction)
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        self.input_size = image_size or 32

    def prepare_data(self) -> None:
        """Resize every image into the cache.

        So that a bad one is found before training and ranks need not repeat it.
        """
        if self.trainer is None or self.trainer.state.fn == "fit":
            self.load_training()
            if self._has("test"):
                self.load_test()

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        train, _ = self._split_off(self._development(), "test", self.test_fraction)
        val: ImageSet | None
        if self._has("val"):
            val = self._read(self._folder() / "val")
        else:
            train, val = self._split_off(train, "val", self.validation_fraction)
        if len(train.images) == 0:
            raise ValueError(
                f"{self._folder()} leaves no training images: lower data.validation_fraction and test_fraction"
            )
        self.mean, self.std = channel_statistics(train.images)
        return train, val

    def load_test(self) -> ImageSet:
        if self._has("test"):
            return self._read(self._folder() / "test")
        _, test = self._split_off(self._development(), "test", self.test_fraction)
        if test is None:
            raise ValueError(f"{self._folder()} has no test images: add test/<class>/ or pass --data.test_fraction 0.1")
        return test

    def prediction_size(self) -> int:
        return self.image_size or super().prediction_size()

    def _folder(self) -> Path:
        if self.root is None:
            raise ValueError("data.root is missing: name the folder that holds train/<class>/ or <class>/")
        if not self.root.is_dir():
            raise FileNotFoundError(f"data.root {self.root} is not a folder: check the path")
        return self.root

    def _has(self, part: str) -> bool:
        return (self._folder() / part).is_dir()

    def _development(self) -> ImageSet:
        return self._read(self._folder() / "train" if self._has("train") else self._folder())

    def _split_off(self, images: ImageSet, part: str, fraction: float) -> tuple[ImageSet, ImageSet | None]:
        """Set a stratified share apart, unless `part` has a folder of its own or the share comes to no image."""
        size = round(fraction * len(images.images))
        if self._has(part) or size == 0:
            return images, None
        purpose: Literal["test_split", "validation_split"] = "test_split" if part == "test" else "validation_split"
        kept, apart = stratified_split(images.labels, size, seed=self.split_seed, purpose=purpose)
        return images.select(kept), images.select(apart)

    def _read(self, folder: Path) -> ImageSet:
        """All images of the class folders in `folder`."""
        classes = self._classes()
        self.class_names = classes
        # A checkpoint's size holds for testing and predicting; a fit decides for itself.
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
        """The class names.

        A checkpoint's where it knows every folder's name, else the training folders' (or test's).
        """
        root = self._folder()
        candidates = [root / "train", root, root / "val", root / "test"]
        names = next((found for folder in candidates if (found := class_folders(folder))), None)
        if names is None:
            raise ValueError(f"{root} has no class folders: put images into train/<class>/ or <class>/")
        known = None if self._fits() else self.model_class_names()
        return list(known) if known and set(names) <= set(known) else names

    def _fits(self) -> bool:
        return self.trainer is None or self.trainer.state.fn == "fit"


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders in `folder`, sorted: all but hidden ones and those of a split."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in PARTS
    )
