"""Knowledge distillation: a trained classifier teaches another one.

Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. arXiv:1503.02531
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from lightning_modules.image_classifier import ImageClassifier


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean divergence of a network's softened probabilities from its teacher's, times temperature squared.

    The factor keeps gradient magnitudes independent of the temperature (section 2 of the paper).

    Args:
        logits: The network's, float [B, C].
        teacher: The teacher's, float [B, C].
        temperature: Divisor of both before the softmax, above 0.
    """
    ours, theirs = ((each.float() / temperature).log_softmax(1) for each in (logits, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


class Teacher:
    """A trained classifier, frozen and in eval mode; not a submodule of its student, and so not in its checkpoints.

    Args:
        module: The classifier.
        weight: Its share in the loss, from 0 to 1.
        temperature: Temperature of both softmaxes.
    """

    def __init__(self, module: ImageClassifier, weight: float, temperature: float) -> None:
        self.module = module.requires_grad_(False).eval()
        self.weight = weight
        self.temperature = temperature

    def blend(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Return the loss of the labels, blended with the distillation loss on the same augmented images.

        Args:
            loss: Mean loss of the labels.
            logits: The network's, float [B, C].
            images: What the network was shown, [B, 3, H, W] in 0..255.
        """
        with torch.no_grad():
            theirs = self.module(images)
        return (1 - self.weight) * loss + self.weight * distillation_loss(logits, theirs, self.temperature)


def load_teacher(path: str, student: ImageClassifier, device: torch.device) -> Teacher:
    """Return the teacher in a checkpoint, which passes the same gate as any other.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no image classifier, or one for other classes or another image size.
    """
    from lightning_modules.image_classifier import ImageClassifier  # which imports this file

    if not Path(path).is_file():
        raise FileNotFoundError(
            f"model.teacher: no such file: {path}; specify a checkpoint, such as runs/NAME/checkpoints/best.ckpt"
        )
    try:
        module = ImageClassifier.load_from_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"model.teacher: {error}") from error
    if module.class_names != student.class_names or module.architecture.num_classes != student.architecture.num_classes:
        raise ValueError(f"model.teacher {path} was trained on classes other than those of this data: use another")
    if module.input_size != student.input_size:
        raise ValueError(
            f"model.teacher {path} was trained on images of {module.input_size} pixels, but these have "
            f"{student.input_size}: pass --data.image_size {module.input_size}, or use another teacher"
        )
    if module.channels_last:
        module.architecture.to(memory_format=torch.channels_last)
    return Teacher(module.to(device), student.teacher_weight, student.teacher_temperature)
