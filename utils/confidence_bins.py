"""Bins of a classifier's confidences, from which its calibration is measured."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from utils.devices import widened

BINS = 15
"""Number of bins of equal width; a confidence of exactly 1 has its own bin, the last one."""

FIXED_POINT = 2.0**32
"""The integer that stands for 1: the confidences of 2 ** 31 examples can be summed."""


class ConfidenceBins(NamedTuple):
    """Sums per bin of confidence, int64 [bins + 1], which depend neither on order nor on the number of processes.

    Attributes:
        examples: Number of examples.
        correct: Number of examples that were predicted correctly.
        confidence: Sum of the confidences, times `FIXED_POINT`.
    """

    examples: Tensor
    correct: Tensor
    confidence: Tensor


def confidence_bins(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> ConfidenceBins:
    """Return the sums of a batch, on its device.

    Args:
        probabilities: float [B, C].
        labels: int64 [B].
        bins: Number of bins.
    """
    confidence, predicted = probabilities.max(1)
    boundaries = torch.linspace(0, 1, bins + 1, device=confidence.device, dtype=confidence.dtype)
    of_example = torch.bucketize(confidence, boundaries, right=True) - 1
    in_bin = of_example[:, None] == torch.arange(bins + 1, device=confidence.device)  # [B, bins + 1]
    fixed = (widened(confidence).nan_to_num() * FIXED_POINT).round().long()
    return ConfidenceBins(
        in_bin.sum(0), (in_bin & (predicted == labels)[:, None]).sum(0), (in_bin * fixed[:, None]).sum(0)
    )
