"""Sums over an epoch, kept in checkpoints so that a run resumed in mid-epoch continues them."""

from __future__ import annotations

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class EpochSums:
    """Named sums in float64; each process has its own until they are read.

    Averages of averages are wrong if batches, epochs or processes have different sizes; sums and counts are not.

    Args:
        *names: What is summed, such as "loss" and "examples".
    """

    def __init__(self, *names: str):
        self.names = names
        self.reset()

    def reset(self) -> None:
        """Set all sums to zero: a new epoch begins."""
        self._sums = torch.zeros(len(self.names), dtype=torch.float64)

    def add(self, *values: Tensor | float) -> None:
        """Add one value to each sum, in the order of the names, without waiting for the device of the first tensor."""
        device = next((value.device for value in values if isinstance(value, Tensor)), self._sums.device)
        new = [
            # torch.full, because copying a number to a GPU would wait for it
            value.detach().to(device, torch.float64)
            if isinstance(value, Tensor)
            else torch.full((), value, dtype=torch.float64, device=device)
            for value in values
        ]
        self._sums = self._sums.to(device) + torch.stack(new)

    def total(self, strategy: Strategy) -> dict[str, float]:
        """Return the sums over all processes, by name; every process must call this."""
        # A copy: DDP reduces in place, and a total taken in mid-epoch, for a checkpoint, must not change the sums.
        everywhere = strategy.reduce(self._sums.to(strategy.root_device, copy=True), reduce_op="sum")
        assert isinstance(everywhere, Tensor)
        return dict(zip(self.names, everywhere.tolist(), strict=True))

    def load(self, totals: dict[str, float], rank: int) -> None:
        """Continue from what `total` returned: the first process holds it, the others zeros, whatever their number."""
        self.reset()
        if rank == 0:
            self._sums = torch.tensor([totals[name] for name in self.names], dtype=torch.float64)
