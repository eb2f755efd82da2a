"""Datamodule for your own images, in one folder per class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from datamodules.images.base import ImageDataModule
from datamodules.images.formats import readable_endings
from datamodules.images.image_cache import cached_images
from datamodules.images.image_files import ImageFiles
from datamodules.images.image_set import ImageSet, split_line
from datamodules.images.layout import Layout, read_layout
from datamodules.images.listing import describe_skipped, list_images
from datamodules.images.normalization import Normalization, mean_and_std
from datamodules.trainer_state import stage_of
from utils.checks import check_choice, check_fraction, check_positive_int
from utils.file_names import one_form, readable

_NAMES = {"train": "training", "val": "validation", "test": "test"}
_NO_ROOT = "data.root is missing: set it to the folder that contains train/<class>/ or <class>/ folders"


class ImageFolderDataModule(ImageDataModule):
    """Your own images of any size and mode, in one folder per class, resized once, as uint8 in memory or on disk.

    Two layouts are supported: `root/train/<class>/...` with `root/val/<class>/...` and `root/test/<class>/...`
    (torchvision's ImageFolder), or `root/<class>/...`. Other usual names of splits, such as `Training`, `valid`, `dev`
    and `test_set`, are understood. If validation or test has no folder with labelled images, it is split off the
    training images, stratified. Images are cropped to their centred square before they are resized. A fit reports where
    each split comes from, and what was skipped.

    Memory: 3 * image_size ** 2 bytes per image (150 MB for 1,000 images of 224 pixels). A split that takes more than a
    quarter of the machine's memory stays in its file in `cache_dir`, from which batches are read as they are needed.

    Args:
        root: The folder; may be null only for prediction with `predict_path`.
        image_size: Height and width in pixels; if null, the size that the checkpoint was trained on, else 32.
        validation_fraction: Fraction of the training images held out for validation if there is no `root/val`, at least
            0 and below 1; 0 disables validation.
        test_fraction: Fraction of the training images held out as the test set if there is no `root/test`, at least 0
            and below 1.
        normalization: Mean and standard deviation with which pixels are normalised: those of the training images
            (`data`), or those of ImageNet, which published weights were trained with (`imagenet`).
        cache_dir: Folder that keeps the resized images until a file changes; if null, they are decoded at every start.
        **options: Arguments of `ImageDataModule`.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: A number is out of range, or the folder has no images, an empty or unknown class, or files that
            cannot be decoded.
    """

    def __init__(
        self,
        root: str | None = None,
        image_size: int | None = None,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        normalization: Normalization = "data",
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
        check_choice("data.normalization", normalization, ("data", "imagenet"))
        self.normalization: Normalization = normalization
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        self.input_size = image_size or 32
        self._known_layout: Layout | None = None
        self._test_line = "test: none"
        self._reported: set[str] = set()

    def prepare_data(self) -> None:
        """Resize every image into the cache, so that a bad one is found before training and ranks share the work."""
        if self._fits():
            self._training_sets()
            if self._test_files() is not None:
                self.load_test()

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        """Return training and validation images, and set `mean` and `std`."""
        files, val_files, test_files = self._split_training()
        if self._has("val"):
            val_files = self._list("val")
        if self._has("test"):
            test_files = self._list("test")
        if not files.paths:
            raise ValueError(
                f"data.root {self._folder()} has no images left for training: lower data.validation_fraction and "
                "data.test_fraction"
            )
        self._warn_of_missing_classes(files.labels)
        if test_files is not None:
            self._test_line = split_line("test", test_files.source, test_files.labels)
        train = self._read(files, "train")
        val = None if val_files is None else self._read(val_files, "val")
        self.mean, self.std = mean_and_std(self.normalization, train.images)
        return train, val

    def test_path(self) -> str:
        """Return the root folder, which holds the test images in a separate folder or among the others."""
        return str(self.root)

    def load_test(self) -> ImageSet:
        """Return the images of `root/test`, else those split off the training images."""
        files = self._test_files()
        if files is None:
            raise ValueError(
                f"data.root {self._folder()} has no test images: add test/<class>/ or pass --data.test_fraction 0.1"
            )
        return self._read(files, "test")

    def split_lines(self) -> list[str]:
        """Return one line per split: its folder, number of images and classes."""
        return [*super().split_lines(), self._test_line]

    def prediction_size(self) -> int:
        """Return `image_size` if it is set, else the size that the model was trained on, else 32."""
        return self.image_size or super().prediction_size()

    # --- the folders -------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        if self.root is None:
            raise ValueError(_NO_ROOT)
        if not self.root.is_dir():
            raise FileNotFoundError(f"data.root {readable(self.root)} is not a folder: check the path")
        return self.root

    def _layout(self) -> Layout:
        if self._known_layout is None:
            self._known_layout = read_layout(self._folder())
            for note in self._known_layout.notes:
                self._report(note)
        return self._known_layout

    def _has(self, split: str) -> bool:
        return split in self._layout().splits

    def _report(self, line: str) -> None:
        """Print a line, once."""
        if line not in self._reported:
            self._reported.add(line)
            rank_zero_info(line)

    def _warn_of_missing_classes(self, labels: Tensor) -> None:
        """Warn of classes without an image to train on, as when their only one is held out."""
        names = self.class_names or []
        missing = [names[label] for label in sorted(set(range(len(names))) - set(labels.unique().tolist()))]
        if missing:
            rank_zero_warn(f"no training images are left of {', '.join(missing[:5])}: add images, or lower fractions")

    # --- reading -----------------------------------------------------------------------------------------------

    def _split_training(self) -> tuple[ImageFiles, ImageFiles | None, ImageFiles | None]:
        """Return the training files, and those held out of them for validation and for test; None if none are."""
        files = self._list("train")
        test_fraction = 0.0 if self._has("test") else self.test_fraction
        files, test = files.hold_out(test_fraction, self.split_seed, "test_split")
        val_fraction = 0.0 if self._has("val") else self.validation_fraction
        files, val = files.hold_out(val_fraction, self.split_seed, "validation_split")
        return files, val, test

    def _test_files(self) -> ImageFiles | None:
        """Return the files of `root/test`, else those held out of the training files; None if there are none."""
        return self._list("test") if self._has("test") else self._split_training()[2]

    def _read(self, files: ImageFiles, split: str) -> ImageSet:
        """Return the images of a split."""
        # Testing and predicting use the checkpoint's size; a fit chooses its own.
        self.input_size = self.image_size or (32 if self._fits() else self.prediction_size())
        processes = self.trainer.num_devices if self.trainer is not None else 1
        images = cached_images(files.paths, self.input_size, files.folder, self.cache_dir, split, processes)
        return ImageSet(images, files.labels, list(map(readable, files.paths)), files.source)

    def _list(self, split: str) -> ImageFiles:
        """Return the image files of a split and their labels, and set `class_names`."""
        self.class_names = self._classes()
        known = {one_form(name): label for label, name in enumerate(self.class_names)}
        if split not in self._layout().splits:
            raise ValueError(_no_classes(self._folder()))
        folder, classes = self._layout().splits[split]
        paths: list[Path] = []
        labels: list[int] = []
        skipped: Counter[str] = Counter()
        for name, folders in classes.items():
            if name not in known:
                raise ValueError(
                    f"{readable(folders[0])} is not a class of this model or training set: rename or remove it"
                )
            found = [list_images(each, within=folder) for each in folders]
            images = sorted(path for each in found for path in each.paths)
            here = sum((each.skipped for each in found), Counter[str]())
            if not images:
                self._report_empty(split, folders[0], describe_skipped(here))
            paths += images
            labels += [known[name]] * len(images)
            skipped += here
        if not paths:
            raise ValueError(f"{readable(folder)} contains no images: remove it, or put images into its class folders")
        if skipped:
            self._report(f"{_NAMES[split]}: skipped in {readable(folder)}: {describe_skipped(skipped)}")
        return ImageFiles(paths, torch.tensor(labels), folder, readable(folder))

    def _report_empty(self, split: str, folder: Path, skipped: str) -> None:
        """Report a class folder without images.

        Raises:
            ValueError: It belongs to the training split.
        """
        what = f"{readable(folder)} contains no images" + (f" but {skipped}" if skipped else "")
        if split == "train":
            endings = ", ".join(sorted(readable_endings()))
            raise ValueError(f"{what}: remove it, or add files that end in one of {endings}")
        self._report(what)

    def find_class_names(self) -> list[str]:
        """Return the names of the class folders."""
        return _class_names(read_layout(self._folder()), self._folder())

    def _classes(self) -> list[str]:
        """Return the class names: the model's if it knows every folder, else those of the folders."""
        names = _class_names(self._layout(), self._folder())
        known = None if self._fits() else self.model_class_names()
        return list(known) if known and set(names) <= set(map(one_form, known)) else names

    def _fits(self) -> bool:
        """Return whether this is a fit, or use without a trainer."""
        return self.trainer is None or stage_of(self.trainer) == "fit"


def _class_names(layout: Layout, root: Path) -> list[str]:
    """Return the names of the training folders, else of those of validation, else of those of test."""
    for split in ("train", "val", "test"):
        if split in layout.splits:
            return list(layout.splits[split].classes)
    raise ValueError(_no_classes(root))


def _no_classes(root: Path) -> str:
    return f"data.root {readable(root)} has no class folders: put images into train/<class>/ or <class>/"
