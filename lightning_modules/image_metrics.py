"""The metrics of image classification. torchmetrics needs at least two classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lightning_modules.calibration import CalibrationError


def image_metrics(classes: int, prefix: str) -> MetricCollection:
    """Return accuracy, calibration error and, with at least ten classes, top-5 accuracy."""
    scores: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(classes, average="micro"),
        "calibration_error": CalibrationError(),
    }
    if classes >= 10:  # with fewer classes, the best five are most of them
        scores["accuracy_top5"] = MulticlassAccuracy(classes, average="micro", top_k=5)
    return MetricCollection(scores, prefix=prefix, compute_groups=False)


def with_two_classes(probabilities: Tensor) -> Tensor:
    """Return probabilities [B, C], with an impossible second class if C is 1."""
    return F.pad(probabilities, (0, 1)) if probabilities.shape[1] == 1 else probabilities
