"""A trained image classifier that takes files and images of any kind."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datamodules.images.decoding import decode_image, decode_readable, square_image
from lightning_modules.image_classifier import ImageClassifier
from oneforall.model import Model
from utils.file_names import readable

ImageLike = str | os.PathLike[str] | Image.Image | np.ndarray[Any, Any] | Tensor
"""A file, an image of Pillow, an array [H, W], [H, W, 3] or [H, W, 4], or a tensor [3, H, W], the last two uint8."""

AT_ONCE = 64
"""Number of images classified at once: memory for many more, of 224 pixels, may be lacking."""


class Prediction(NamedTuple):
    """A class and how probable the model thinks it is.

    Attributes:
        name: The name of the class; its number as text if the checkpoint knows no names.
        probability: Its probability.
    """

    name: str
    probability: float


class ImageModel(Model):
    """Image classifier that prepares images as `oneforall predict` does.

    Args:
        module: The module of a checkpoint.
        path: The checkpoint.

    Raises:
        ValueError: The checkpoint does not know the size of its images, because it was saved before training.
    """

    module: ImageClassifier

    def __init__(self, module: ImageClassifier, path: str) -> None:
        super().__init__(module, path)
        if module.input_size is None:
            raise ValueError(f"checkpoint {path} does not know the size of its images: it was saved before training")
        self.size = module.input_size
        names = module.class_names or map(str, range(module.architecture.num_classes))
        self.class_names = [readable(name) for name in names]

    @overload  # a path, being a string, is a sequence of strings as well
    def predict(self, images: ImageLike) -> list[Prediction]: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, images: Sequence[ImageLike]) -> list[list[Prediction]]: ...

    def predict(self, images: ImageLike | Sequence[ImageLike]) -> list[Prediction] | list[list[Prediction]]:
        """Return the classes of an image with their probabilities, the most probable one first.

        Args:
            images: An image or a sequence of images, of any sizes. An array of four dimensions is a sequence.

        Returns:
            A `Prediction` per class, or a list of them for each image of a sequence.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: A file cannot be decoded, an array does not have the type or shape of an image, or the argument
                is of another type, such as bytes.
        """
        if not _is_sequence(images):
            return self.classify(_square(images, self.size)[None])[0]
        found: list[list[Prediction]] = []
        rest = iter(images)
        while squares := [_square(image, self.size) for image in islice(rest, AT_ONCE)]:
            found += self.classify(torch.stack(squares))
        return found

    def predict_readable(self, paths: Sequence[Path]) -> list[list[Prediction] | str]:
        """Return the predictions for each of several files or, for one that cannot be decoded, the error."""
        images, errors = decode_readable(paths, self.size)
        found = self.classify(images)
        return [errors.get(place, each) for place, each in enumerate(found)]

    def classify(self, images: Tensor) -> list[list[Prediction]]:
        """Return the classes of each image with their probabilities, the most probable one first.

        Args:
            images: uint8 [B, 3, size, size].
        """
        with torch.inference_mode():
            logits = torch.cat([self.module(part.to(self.module.device)) for part in images.split(AT_ONCE)])
            probabilities = self.module.probabilities_of(logits)
        order = probabilities.sort(dim=1, descending=True, stable=True)
        return [
            [Prediction(self.class_names[label], probability) for label, probability in zip(*row, strict=True)]
            for row in zip(order.indices.tolist(), order.values.tolist(), strict=True)
        ]


def _is_sequence(images: ImageLike | Sequence[ImageLike]) -> TypeGuard[Sequence[ImageLike]]:
    """Return whether these are several images, such as an array of four dimensions, but not bytes or a file."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim > 3
    single = isinstance(images, str | os.PathLike | Image.Image | bytes | bytearray | io.IOBase)
    return not single and isinstance(images, Iterable)


def _square(image: object, size: int) -> Tensor:
    """Return one image as uint8 [3, size, size].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be decoded, or is an array of another type or shape, or without pixels.
    """
    if isinstance(image, str | os.PathLike):
        return decode_image(Path(image), size)
    if isinstance(image, Image.Image):
        return _square_of_pillow(image, size)
    array = image.cpu().numpy().transpose(1, 2, 0) if isinstance(image, Tensor) and image.ndim == 3 else image
    is_image = isinstance(array, np.ndarray) and array.ndim > 1 and array.shape[2:] in ((), (3,), (4,))
    if not isinstance(array, np.ndarray) or not is_image or array.dtype != np.uint8 or not array.size:
        given = type(image).__name__
        if isinstance(image, np.ndarray | Tensor):
            given = f"{image.dtype} {list(image.shape)}"
        raise ValueError(
            f"an image must be a path, a PIL image, a uint8 array [H, W], [H, W, 3] or [H, W, 4], or a uint8 tensor "
            f"[3, H, W], got {given}"
        )
    return square_image(Image.fromarray(np.ascontiguousarray(array)), size)


def _square_of_pillow(image: Image.Image, size: int) -> Tensor:
    try:
        image.load()
        return square_image(image, size)
    except Exception as error:  # each format's decoder raises its own exceptions
        name = readable(getattr(image, "filename", "") or "a PIL image")
        raise ValueError(f"{name} cannot be read as an image ({type(error).__name__}: {error}): replace it") from error
