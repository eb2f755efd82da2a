"""Input of `predict`: an image, or the images below a folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from datamodules.images.decoding import decode_readable, list_some
from datamodules.images.image_set import ImageSet
from datamodules.images.listing import describe_skipped, list_images
from utils.file_names import one_form, readable

ARGUMENT = "data.predict_path"


class PredictionImages(NamedTuple):
    """Images to predict, and why some of them cannot be decoded, by their number; those are black."""

    examples: ImageSet
    errors: dict[int, str]


def read_prediction_images(path: Path, class_names: Sequence[str], size: int) -> PredictionImages:
    """Return an image, or the images below a folder, and warn of those that cannot be decoded.

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
    labels = {one_form(name): label for label, name in enumerate(class_names)}
    images, errors = decode_readable(files, size)
    _report(errors, files)
    names = list(map(readable, files))
    of_folders = torch.tensor([_folder_label(file.relative_to(path).parts[:-1], labels) for file in files])
    return PredictionImages(ImageSet(images, of_folders, names), errors)


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


def _report(errors: dict[int, str], files: Collection[Path]) -> None:
    """Warn of images that cannot be decoded.

    Raises:
        ValueError: None can be.
    """
    if len(errors) == len(files):
        others = f"; none of the {len(files):,} files can be read" if len(files) > 1 else ""
        raise ValueError(f"{next(iter(errors.values()))}{others}")
    if errors:
        broken = [file for place, file in enumerate(files) if place in errors]
        rank_zero_warn(
            f"{len(broken):,} of {len(files):,} images cannot be read and have no prediction; the column `error` "
            f"of the predictions says why: {list_some(broken)}"
        )
