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
from datamodules.images.image_set import ImageSet
from datamodules.trainer_state import stage_of
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
        root: Folder that contains `cifar-10-batches-py`, or into which it is downloaded.
        download: Whether to download the data into `root` if `cifar-10-batches-py` is missing. Existing files are never
            overwritten.
        verify: Whether to require the MD5 sums of the original files. If false, any copy with the right format is
            accepted.
        test_file: An .npz file with `images` uint8 [N, 3, 32, 32] and `labels` [N] that replaces the test set; if null,
            the original test set.
        validation_size: Number of training images held out for validation, stratified; 0 disables validation.
        **options: Arguments of `ImageDataModule`.

    Raises:
        FileNotFoundError: The data are missing and cannot be downloaded, or may not be.
        ValueError: A number is out of range; or a file differs from the original (with `verify`), is damaged or has the
            wrong format.
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
        """Folder of the batch files: `root/cifar-10-batches-py`, or `root` itself if it contains them."""
        return self.root if (self.root / TRAIN_FILES[0]).is_file() else self.root / FOLDER

    def prepare_data(self) -> None:
        """Download missing files and read all that the stage needs, so that a bad one is found before training."""
        stage = stage_of(self.trainer)
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
        """Return the images of the training files without those held out for validation, and the held-out ones."""
        parts = [read_batch(self.folder / name) for name in TRAIN_FILES]
        labels = torch.cat([part[1] for part in parts])
        examples = ImageSet(torch.cat([part[0] for part in parts]), labels, source=str(self.folder))
        return examples.hold_out_validation(self.validation_size, seed=self.split_seed)

    def test_path(self) -> str:
        """Return the file of the test images."""
        return str(self.test_file if self.test_file is not None else self.folder / TEST_FILE)

    def load_test(self) -> ImageSet:
        """Return the images of `test_file` if it is set, else those of the original test set."""
        read = read_npz(self.test_file) if self.test_file is not None else read_batch(self.folder / TEST_FILE)
        return ImageSet(*read)
