"""Image classifier as a standalone program from raw pixels to probabilities: the content of ONNX and .pt2 files."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from exports.exported import check_close
from lightning_modules.image_classifier import ImageClassifier
from oneforall.image_model import ImageModel
from utils.batches import ImagePredictionBatch

INPUT, OUTPUTS = "images", ("probabilities", "logits")
LIMIT = 1e-4
"""Greatest difference of an output attributed to the order of additions; of logits above 1, relative to them."""

BATCH_SIZES = (1, 2, 5)
"""Sizes of the batches on which an export is compared."""

READ_IMAGE = (
    "import numpy, PIL.Image, PIL.ImageOps",
    'image = PIL.ImageOps.exif_transpose(PIL.Image.open("image.png")).convert("RGBA")',
    'white = PIL.Image.new("RGBA", image.size, "white")',
    'image = PIL.Image.alpha_composite(white, image).convert("RGB")',
    "image = PIL.ImageOps.fit(image, ({size}, {size}), PIL.Image.Resampling.BICUBIC)",
    "images = numpy.asarray(image).transpose(2, 0, 1)[None]",
)
"""Lines of Python that read an image as `predict` does, unless it is grey with more than 8 bits."""


class RawImages(nn.Module):
    """uint8 images [B, 3, H, W] -> probabilities and logits, float [B, num_classes], as `predict` computes them.

    Args:
        classifier: The trained classifier.
    """

    def __init__(self, classifier: ImageClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the two outputs by name."""
        logits = self.classifier(images).float()
        return dict(zip(OUTPUTS, (self.classifier.probabilities_of(logits), logits), strict=True))


def program_of(model: ImageModel) -> ExportedProgram:
    """Return a classifier as a program of torch.export, for batches of any size.

    Raises:
        ValueError: torch cannot export the network.
    """
    net = RawImages(model.module).eval().requires_grad_(False)
    try:
        return torch.export.export(net, (noise(model.size, 2),), dynamic_shapes={INPUT: {0: Dim("batch")}})
    except Exception as error:  # a user's own network may raise anything
        raise cannot_export(model, error) from error


def cannot_export(model: ImageModel, error: Exception) -> ValueError:
    """Return the error that says which network torch cannot export, and why."""
    reason = next(filter(str.strip, str(error).splitlines()), type(error).__name__)
    return ValueError(f"model.architecture {type(model.module.architecture).__name__} cannot be exported: {reason}")


def noise(size: int, number: int) -> Tensor:
    """Return random images, uint8 [number, 3, size, size], the same each time."""
    generator = torch.Generator().manual_seed(number)
    return torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8, generator=generator)


def compare(model: ImageModel, run: Callable[[Tensor], dict[str, Tensor]], where: str) -> str:
    """Compare the outputs of an export with those of `predict`, on random images, and return the result in words.

    Args:
        model: The classifier.
        run: Returns the outputs of the export by name, for images uint8 [B, 3, size, size].
        where: Name of the library that runs it.

    Raises:
        ValueError: An output differs by more than `LIMIT`.
    """
    classifier, greatest = model.module, 0.0
    for number in BATCH_SIZES:
        images, unknown = noise(model.size, number), torch.full((number,), -1)
        outputs = run(images)
        with torch.no_grad():
            predicted = classifier.predict_step(ImagePredictionBatch(images, unknown, torch.arange(number)), 0)
            expected = {"probabilities": predicted["probabilities"], "logits": classifier(images).float()}
        for name, values in expected.items():
            difference = float((outputs[name] - values).abs().max() / values.abs().max().clamp(min=1))
            check_close(difference, LIMIT, f"{name} in {where}")
            greatest = max(greatest, difference)
    return f"in {where} on random images, greatest difference {greatest:.1e}"


def describe_input(model: ImageModel) -> str:
    """Return a description of the input of the export: name, type, shape and range."""
    return f"{INPUT}: uint8 [batch, 3, {model.size}, {model.size}], RGB, 0 to 255 (normalisation is inside)"


def describe_outputs(model: ImageModel) -> str:
    """Return a description of the outputs of the export: names, type and shape."""
    return f"{' and '.join(OUTPUTS)}: float32 [batch, {len(model.class_names)}]"
