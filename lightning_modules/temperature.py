"""Temperature scaling: the divisor of the logits at which probabilities fit the validation data best."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from utils.devices import widened

FIXED_POINT = 2.0**20
"""Scale of losses as integers: those of a million million examples of loss 1 can be summed."""

LARGEST_LOSS = 1e6
"""What an infinite loss counts as."""

STEPS_PER_OCTAVE, OCTAVES = 4, 3
TEMPERATURES = 2 * OCTAVES * STEPS_PER_OCTAVE + 1
"""Number of temperatures that are compared: from 1/8 to 8, each 2 ** (1/4) times the one before."""

FEWEST = 100
"""Number of examples below which no temperature is fitted."""

AT_ONCE = 2**25
"""Maximum number of scaled logits in memory at a time."""


class FittedTemperature(Metric):
    """The temperature of a classifier (Guo et al. 2017, arXiv:1706.04599, section 4.2): it minimizes the mean loss.

    Guo et al. optimize it on all logits of the validation set, which are not kept here: losses are summed at a few
    temperatures, as integers, so that the result depends neither on the order of the examples nor on the number of
    processes. It is the minimum of the parabola, over the logarithm of the temperature, through the lowest sums.

    It is 1, which leaves probabilities as they are, with fewer than 100 examples, or if there is no minimum between 1/8
    and 8, for example because every example is classified correctly.
    """

    full_state_update = False
    higher_is_better = None

    examples: Tensor
    losses: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("examples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("losses", torch.zeros(TEMPERATURES, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            logits: float [B, C].
            labels: int64 [B].
        """
        temperatures = torch.logspace(-OCTAVES, OCTAVES, TEMPERATURES, base=2.0, device=logits.device)  # [T]
        count = max(1, AT_ONCE // (TEMPERATURES * logits.shape[1]))
        for some, theirs in zip(logits.float().split(count), labels.split(count), strict=True):
            scaled = some[:, None] / temperatures[:, None]  # [B, T, C]
            right = scaled.gather(2, theirs[:, None, None].expand(-1, TEMPERATURES, 1))[..., 0]  # [B, T]
            losses = widened(scaled.logsumexp(2) - right).nan_to_num(LARGEST_LOSS).clamp(max=LARGEST_LOSS)
            # Not in place: sums from a test (inference mode) cannot be changed in training
            self.losses = self.losses + (losses * FIXED_POINT).round().long().sum(0)
        self.examples = self.examples + len(labels)

    def compute(self) -> Tensor:
        """Return the temperature, float []."""
        sums = self.losses.cpu().double()
        lowest = int(sums.argmin())
        if int(self.examples) < FEWEST or lowest in (0, len(sums) - 1):
            return torch.ones(())
        before, there, after = sums[lowest - 1 : lowest + 2].tolist()
        curvature = before - 2 * there + after
        shift = 0.5 * (before - after) / curvature if curvature > 0 else 0.0  # in steps, at most half a step
        return torch.tensor(2.0 ** ((lowest + shift) / STEPS_PER_OCTAVE - OCTAVES))
