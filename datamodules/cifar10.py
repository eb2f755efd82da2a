"""CIFAR-10 in its original layout, `cifar-10-batches-py` (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from datamodules.images.base import ImageDataModule
from datamodules.images.cifar10_files import (
    FOLDER,
    TEST_FILE,
    TRAIN_FILES,
    check_md5,
    fetch_archive,
    read_batch,
    read_npz,
)
from datamodules.images.image_set import ImageSet, stratified_split
from utils.checks import check_int

CLASS_NAMES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes, 3x32x32, held in memory as uint8.

    Args:
        root: Folder that holds (or shall hold) `cifar-10-batches-py`.
        download: Fetch the data into `root` when `cifar-10-batches-py` is not there. Existing files are never
            overwritten.
        verify: Require the MD5 sums of the original files. False accepts any copy of the right form.
        test_file: An .npz file with `images` uint8 [N, 3, 32, 32] and `labels` [N] to test on in place of the test set.
        validation_size: Number of training images set apart for validation, stratified; 0: none.
        **options: Arguments of `ImageDataModule`.

    Raises:
        FileNotFoundError: no data, and no download allowed or possible.
        ValueError: files that differ from the originals (with `verify`), are damaged or of the wrong form.
    """

    def __init__(
        self,
        root: str = "data",
        download: bool = True,
        verify: bool = True,
        test_file: str | None = None,
        validation_size: int = 5000,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.download = download
        self.verify = verify
        self.test_file = test_file
        self.validation_size = check_int("data.validation_size", validation_size)
        self.class_names = list(CLASS_NAMES)
        self.mean, self.std = MEAN, STD

    @property
    def folder(self) -> Path:
        """Where the batch files are: `root/cifar-10-batches-py`, or `root` itself when it holds them."""
        return self.root if (self.root / TRAIN_FILES[0]).is_file() else self.root / FOLDER

    def prepare_data(self) -> None:
        """Fetch the files where they are missing and look at all of them.

        So that a bad one is found before training.
        """
        stage = self.trainer.state.fn if self.trainer is not None else None
        if stage == "predict" and self.predict_path is not None:
            return
        if self.test_file is not None and stage != "validate":
            read_npz(self.test_file)
        if stage in ("test", "predict") and self.test_file is not None:
            return
        if self.download and not self.folder.exists():
            fetch_archive(self.root, verify=self.verify)
        for name in (*TRAIN_FILES, TEST_FILE):
            read_batch(self.folder / name)
            if self.verify:
                check_md5(self.folder / name)

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        parts = [read_batch(self.folder / name) for name in TRAIN_FILES]
        images, labels = (
            torch.cat([part[0] for part in parts]),
            torch.cat([part[1] for part in parts]),
        )
        if self.validation_size == 0:
            return ImageSet(images, labels), None
        if self.validation_size >= len(labels):
            raise ValueError(
                f"data.validation_size is {self.validation_size}: it must be below the {len(labels)} training images"
            )
        train, val = stratified_split(labels, self.validation_size, seed=self.split_seed, purpose="validation_split")
        return ImageSet(images[train], labels[train]), ImageSet(images[val], labels[val])

    def load_test(self) -> ImageSet:
        read = read_npz(self.test_file) if self.test_file is not None else read_batch(self.folder / TEST_FILE)
        return ImageSet(*read)
