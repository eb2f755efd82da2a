"""Base class of every image classifier in this package.

To add a network, write one file here with one class that extends `ImageClassifierNet`. There is no registry to edit: a
config names the class, and the command line checks it against this base class.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar

from torch import Tensor, nn


class ImageClassifierNet(nn.Module, ABC):
    """Base class of every image classifier: normalised images in, one logit per class out.

    A subclass sets `head`, calls `super().__init__(num_classes)`, and accepts images of any height and width >= 32.

    Args:
        num_classes: Number of classes, at least 1; the width of the logits.

    Raises:
        ValueError: `num_classes` is not a whole number of at least 1.
    """

    head: ClassVar[str]
    """Dotted name of the last linear layer ("fc", "classifier.1"), which fine-tuning replaces for new classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = check_positive_int("num_classes", num_classes)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, num_classes] for normalised images, float [B, 3, H, W]."""

    def initialize_from_data(self, images: Tensor) -> None:
        """Initialize weights that depend on the data; the default does nothing.

        It is called once at the start of a fresh fit, before weight averaging copies the network, and never after
        weights have been loaded.

        Args:
            images: A few thousand normalised training images, float [N, 3, H, W].
        """


def check_positive_int(name: str, value: int) -> int:
    """Return `value` if it is a whole number of at least 1.

    Raises:
        ValueError: It is not (True and 10.0 are not either: they are mistakes in a config more often than numbers).
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    return value


def check_positive(name: str, value: float) -> float:
    """Return `value` if it is a finite number above 0.

    Raises:
        ValueError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return value


def check_fraction(name: str, value: float) -> float:
    """Return `value` if it lies in [0, 1), as the share of something dropped must.

    Raises:
        ValueError: It does not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number of at least 0 and below 1, got {value!r}")
    return value


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raise ValueError, listing `choices`, unless `value` is one of them, type included (True is not 1, nor is 1.0)."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
