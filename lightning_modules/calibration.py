"""Expected calibration error, from sums of integers."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from utils.confidence_bins import BINS, FIXED_POINT, confidence_bins
from utils.devices import widened


class CalibrationError(Metric):
    """Expected calibration error of a classifier (Guo et al. 2017, arXiv:1706.04599, section 2), from 0 to 1.

    Its bins are those of torchmetrics' `MulticlassCalibrationError` with the norm l1, which keeps every confidence and
    sums them in float32. Here all sums are integers: the result depends neither on the order of the examples nor on
    the number of processes, and repeating a test on a GPU gives the same digits.

    Args:
        n_bins: Number of bins of equal width that confidences are sorted into.
    """

    full_state_update = False
    higher_is_better = False

    examples: Tensor
    correct: Tensor
    confidence: Tensor

    def __init__(self, n_bins: int = BINS):
        super().__init__()
        self.n_bins = n_bins
        for name in ("examples", "correct", "confidence"):  # per bin; a confidence of exactly 1 has its own bin
            self.add_state(name, torch.zeros(n_bins + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            probabilities: float [B, C].
            labels: int64 [B].
        """
        examples, correct, confidence = confidence_bins(probabilities, labels, self.n_bins)
        # Not in place: sums from a test (inference mode) cannot be changed in training
        self.examples = self.examples + examples
        self.correct = self.correct + correct
        self.confidence = self.confidence + confidence

    def compute(self) -> Tensor:
        """Return the mean over all examples of the distance between accuracy and mean confidence of their bins."""
        distances = (self.correct - widened(self.confidence) / FIXED_POINT).abs()  # times the examples of the bin
        return (distances.sum() / self.examples.sum()).float()
