"""Input of `predict`: an image, or the images below a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules.images.decoding import decode_image, decode_readable
from datamodules.images.listing import describe_skipped, list_images
from utils.file_names import one_form, readable

ARGUMENT = "data.predict_path"


class PredictionFiles(NamedTuple):
    """Image files to predict, which are decoded a batch at a time: there may be more than fit into memory.

    Attributes:
        paths: The files.
        labels: int64 [N], -1 where unknown.
        size: Height and width in pixels of the images.
    """

    paths: list[Path]
    labels: Tensor
    size: int

    def read(self, places: Tensor) -> tuple[Tensor, Tensor, dict[int, str]]:
        """Return the images at these places that can be decoded, their places, and why the others cannot be.

        Args:
            places: int64 [B].

        Returns:
            uint8 [up to B, 3, size, size], int64 [up to B], and the error of each other place.
        """
        images, broken = decode_readable([self.paths[place] for place in places.tolist()], self.size)
        intact = torch.tensor([number for number in range(len(places)) if number not in broken], dtype=torch.int64)
        errors = {int(places[number]): error for number, error in broken.items()}
        return images[intact], places[intact], errors


def find_prediction_files(path: Path, class_names: Sequence[str], size: int) -> PredictionFiles:
    """Return an image, or the images below a folder.

    An image below a folder named after a class has that class as its label, any other -1.

    Args:
        path: The image or the folder.
        class_names: Names of the classes; the place of a name is its label.
        size: Height and width in pixels of the images.

    Raises:
        FileNotFoundError: There is no such path.
        ValueError: It holds no images, or none that can be decoded.
    """
    if not path.exists():
        raise FileNotFoundError(f"{ARGUMENT} {readable(path)} does not exist: specify an image or a folder of images")
    files = [path] if path.is_file() else _images_below(path)
    _check_any_readable(files, size)
    labels = {one_form(name): label for label, name in enumerate(class_names)}
    of_folders = torch.tensor([_folder_label(file.relative_to(path).parts[:-1], labels) for file in files])
    return PredictionFiles(files, of_folders, size)


def _images_below(folder: Path) -> list[Path]:
    """Return the image files below a folder, and report their number and what is skipped.

    Raises:
        ValueError: There are none.
    """
    paths, skipped = list_images(folder)
    others = f"; skipped: {describe_skipped(skipped)}" if skipped else ""
    if not paths:
        raise ValueError(f"{ARGUMENT} {readable(folder)} contains no images that can be read{others}")
    rank_zero_info(f"predict: {readable(folder)}, {len(paths):,} images{others}")
    return paths


def _folder_label(folders: tuple[str, ...], labels: dict[str, int]) -> int:
    """Return the label of the innermost folder that is named after a class; -1 if none is.

    Args:
        folders: Names of the folders, outermost first.
        labels: Labels by the name of the class in its compared form (`one_form`).
    """
    names = map(one_form, reversed(folders))
    return next((labels[name] for name in names if name in labels), -1)


def _check_any_readable(files: Sequence[Path], size: int) -> None:
    """Raise ValueError if no file can be decoded."""
    first_error = ""
    for file in files:
        try:
            decode_image(file, size)
        except (FileNotFoundError, ValueError) as error:
            first_error = first_error or str(error)
        else:
            return
    others = f"; none of the {len(files):,} files can be read" if len(files) > 1 else ""
    raise ValueError(f"{first_error}{others}")
