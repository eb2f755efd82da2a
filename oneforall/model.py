"""Base class of trained models that are ready to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_modules.training_module import TrainingModule


class Model:
    """Base class of trained models: a module in eval mode, with what it needs to take plain images or texts.

    Args:
        module: The module of a checkpoint.
        path: The checkpoint.
    """

    def __init__(self, module: TrainingModule, path: str) -> None:
        self.module = module
        self.path = path

    def predict(self, images: Any) -> Any:
        """Classify images, if the model is one for images.

        Raises:
            ValueError: It is not.
        """
        raise ValueError(f"{self.path} holds a model for text, which cannot classify images: use translate")

    def translate(self, texts: str | Sequence[str], **options: Any) -> Any:
        """Generate texts, if the model is one for text.

        Raises:
            ValueError: It is not.
        """
        raise ValueError(f"{self.path} holds an image classifier, which cannot translate text: use predict")
