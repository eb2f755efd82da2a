"""Base class of every image classifier in this package.

To add a network, write one file here with one class that extends `ImageClassifierNet`. There is no registry to edit: a
config names the class, and the command line checks it against this base class.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from utils.checks import check_positive_int


class ImageClassifierNet(nn.Module, ABC):
    """Base class of every image classifier: normalised images in, one logit per class out.

    A subclass sets `head`, calls `super().__init__(num_classes)`, and accepts images of any height and width >= 32.

    Args:
        num_classes: Number of classes, at least 1; the width of the logits.

    Raises:
        ValueError: `num_classes` is not an integer of at least 1.
    """

    head: ClassVar[str]
    """Dotted name of the last linear layer ("fc", "classifier.1"), which fine-tuning replaces for new classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = check_positive_int("num_classes", num_classes)

    @property
    def head_names(self) -> tuple[str, ...]:
        """Dotted names of all last layers: `head`, unless a network averages the logits of several."""
        return (self.head,)

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
