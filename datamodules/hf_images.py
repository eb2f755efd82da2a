"""Datamodule for labelled images that Hugging Face's `datasets` reads from a local folder or a Parquet file."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from datamodules.hf_splits import Rows, Split, divide, open_splits, require
from datamodules.images.base import ImageDataModule
from datamodules.images.decoding import decode_content, decode_image, decode_into
from datamodules.images.image_set import ImageSet
from datamodules.images.normalization import Normalization, mean_and_std
from utils.checks import check_choice, check_fraction, check_positive_int

if TYPE_CHECKING:
    from datasets import Dataset

_AT_ONCE = 1024  # number of encoded images in memory


class HFDatasetDataModule(ImageDataModule):
    """Images and labels of a data set of Hugging Face's `datasets` (an extra), from local files.

    Images are cropped to their centred square and resized once, at every start, and are in memory as uint8:
    3 * image_size ** 2 bytes per image. Class names are those of the label column's type; if it has none, the
    distinct labels are the classes.

    Args:
        root: A Parquet file; a folder of Parquet files or of images with metadata, as on the Hugging Face Hub; or a
            folder that `save_to_disk` wrote.
        image_column: Column of the images, encoded or as paths of files; if null, the only one of type Image.
        label_column: Column of the labels; if null, the only one of type ClassLabel, else `label`.
        train_split: Name of the training split; if null, `train`.
        validation_split: Name of the validation split; if null, the one called `validation`, `valid`, `val` or `dev`,
            else a part of the training images.
        test_split: Name of the test split; if null, `test`, else a part of the training images.
        image_size: Height and width of an image in pixels.
        validation_fraction: Fraction of the training images held out for validation if there is no such split, at
            least 0 and below 1; 0 disables validation.
        test_fraction: Fraction of the training images held out as the test set if there is no such split, at least 0
            and below 1.
        normalization: Mean and standard deviation with which pixels are normalised: those of the training images
            (`data`), or those of ImageNet, which published weights were trained with (`imagenet`).
        **options: Arguments of `ImageDataModule`.

    Raises:
        FileNotFoundError: There is nothing at `root`.
        ValueError: `datasets` is not installed or cannot read the data; a split, column or label is missing; or an
            image cannot be decoded.
    """

    def __init__(
        self,
        root: str,
        image_column: str | None = None,
        label_column: str | None = None,
        train_split: str | None = None,
        validation_split: str | None = None,
        test_split: str | None = None,
        image_size: int = 32,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        normalization: Normalization = "data",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = root
        self.image_column = image_column
        self.label_column = label_column
        self.train_split = train_split
        self.validation_split = validation_split
        self.test_split = test_split
        self.image_size = self.input_size = check_positive_int("data.image_size", image_size)
        self.validation_fraction = check_fraction("data.validation_fraction", validation_fraction)
        self.test_fraction = check_fraction("data.test_fraction", test_fraction)
        check_choice("data.normalization", normalization, ("data", "imagenet"))
        self.normalization: Normalization = normalization

    def prepare_data(self) -> None:
        """Have `datasets` read its files into its cache, on one process."""
        if self.predict_path is None:
            _ = self._splits

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        """Return training and validation images, and set `class_names`, `mean` and `std`."""
        train = self._read(require(self._parts, "train", self.root, "data.train_split"))
        val = self._read(self._parts["val"]) if "val" in self._parts else None
        self.mean, self.std = mean_and_std(self.normalization, train.images)
        return train, val

    def load_test(self) -> ImageSet:
        """Return the test images, and set `class_names`."""
        return self._read(require(self._parts, "test", self.root, "data.test_split"))

    def test_path(self) -> str:
        """Return the file or folder of the data set."""
        return self.root

    def find_class_names(self) -> list[str]:
        """Return the names of the classes."""
        return list(map(str, self._classes))

    # --- columns -----------------------------------------------------------------------------------------------

    @cached_property
    def _splits(self) -> dict[str, Dataset]:
        return open_splits(self.root, "data.root")

    @cached_property
    def _parts(self) -> dict[Split, Rows]:
        names: dict[Split, str | None] = {
            "train": self.train_split,
            "val": self.validation_split,
            "test": self.test_split,
        }
        fractions: dict[Split, float] = {"val": self.validation_fraction, "test": self.test_fraction}
        return divide(self._splits, self.root, names, fractions, self.split_seed, self._labels)

    @cached_property
    def _image(self) -> str:
        """The column of the images."""
        return self._column("image_column", self.image_column, self._columns_of_type("Image"))

    @cached_property
    def _label(self) -> str:
        """The column of the labels."""
        return self._column("label_column", self.label_column, self._columns_of_type("ClassLabel") or ["label"])

    def _columns_of_type(self, kind: str) -> list[str]:
        return [name for name, feature in self._features.items() if type(feature).__name__ == kind]

    @property
    def _features(self) -> dict[str, Any]:
        """The type of each column."""
        return dict(next(iter(self._splits.values())).features)

    def _column(self, argument: str, given: str | None, candidates: Collection[str]) -> str:
        """Return the name of a column: the given one, else the only candidate.

        Raises:
            ValueError: There is no such column, or none or several to choose from.
        """
        columns = ", ".join(map(repr, self._features))
        if given is not None and given not in self._features:
            raise ValueError(f"data.{argument}: {self.root} has no column {given!r}; its columns are {columns}")
        found = [name for name in candidates if name in self._features]
        if given is None and len(found) != 1:
            raise ValueError(f"data.{argument} is missing: set it to one of the columns of {self.root}: {columns}")
        return given if given is not None else found[0]

    @cached_property
    def _classes(self) -> list[Any]:
        """The names of the classes, or the distinct labels of all splits, sorted, if they have no names.

        Raises:
            ValueError: The column holds something other than labels, such as lists.
        """
        feature = self._features[self._label]  # before the import, because its error says how to get the library
        from datasets import ClassLabel, Value

        if isinstance(feature, ClassLabel):
            return list(feature.names)
        if not isinstance(feature, Value):
            raise ValueError(
                f"data.label_column: column {self._label!r} of {self.root} contains {feature}: choose a column of "
                "numbers, text or ClassLabel"
            )
        known = {value for table in self._splits.values() for value in table[self._label][:] if value is not None}
        return sorted(known)

    def _labels(self, table: Dataset) -> Tensor:
        """Return the labels of rows, int64 [N].

        Raises:
            ValueError: One is missing.
        """
        from datasets import ClassLabel

        values = table[self._label][:]
        are_numbers = isinstance(self._features[self._label], ClassLabel)
        known = range(len(self._classes)) if are_numbers else self._classes
        numbers = {value: number for number, value in enumerate(known)}
        labels = [numbers.get(value, -1) for value in values]
        if -1 in labels:
            row = labels.index(-1)
            raise ValueError(
                f"data.root {self.root}, row {row}: column {self._label!r} is {values[row]!r}, which is not a class: "
                "remove such rows, or choose a split with labels"
            )
        return torch.tensor(labels, dtype=torch.int64)

    # --- images ------------------------------------------------------------------------------------------------

    def _read(self, rows: Rows) -> ImageSet:
        """Return the images and labels of a split."""
        self.class_names = self.find_class_names()
        labels = self._labels(rows.table)
        encoded = self._encoded(rows.table)
        images = torch.zeros(len(labels), 3, self.image_size, self.image_size, dtype=torch.uint8)
        for start in range(0, len(labels), _AT_ONCE):
            chunk = encoded[start : start + _AT_ONCE][self._image]
            numbered = enumerate(chunk, start)
            errors = decode_into(images[start:], numbered, lambda each: self._decode(*each, rows.source))
            if errors:
                more = f"; {len(errors) - 1:,} more cannot be read" if len(errors) > 1 else ""
                raise ValueError(next(iter(errors.values())) + more)
        return ImageSet(images, labels, None, rows.source)

    def _encoded(self, table: Dataset) -> Dataset:
        """Return the column of the images, each of them the content or the path of its file.

        Raises:
            ValueError: The column holds neither.
        """
        from datasets import Image

        try:
            encoded: Dataset = table.select_columns([self._image]).cast_column(self._image, Image(decode=False))
        except (TypeError, ValueError, NotImplementedError) as error:  # Arrow's own exceptions are among them
            raise ValueError(
                f"data.image_column: column {self._image!r} of {self.root} contains {self._features[self._image]}: "
                "choose a column of images or of their paths"
            ) from error
        return encoded

    def _decode(self, row: int, value: dict[str, Any] | None, source: str) -> Tensor:
        """Return an image, given as the content or else the path of its file."""
        content, path = (value["bytes"], value["path"]) if value is not None else (None, None)
        if content is None and path is not None:
            return decode_image(Path(path), self.image_size)
        return decode_content(content or b"", self.image_size, f"data.root: the image of row {row} of {source}")
