"""Sums over the epoch so far, which a run resumed in mid-epoch goes on with."""

from typing import Any

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class EpochSums:
    """Named sums in float64, each process's own until they are read.

    Means of a metric over batches, epochs or processes of unequal size are wrong; sums and counts are not.

    Args:
        *names: What is summed, such as "loss" and "examples".
    """

    def __init__(self, *names: str):
        self.names = names
        self.reset()

    def reset(self) -> None:
        """Starts again from zero: an epoch begins."""
        self._sums = torch.zeros(len(self.names), dtype=torch.float64)

    def add(self, *values: Tensor | float) -> None:
        """Adds one value to each sum, in the order of the names, on the device of the first tensor: no waiting."""
        device = next((value.device for value in values if isinstance(value, Tensor)), self._sums.device)
        new = [
            # torch.full, as copying a number to a GPU would wait for it
            value.detach().to(device, torch.float64)
            if isinstance(value, Tensor)
            else torch.full((), value, dtype=torch.float64, device=device)
            for value in values
        ]
        self._sums = self._sums.to(device) + torch.stack(new)

    def total(self, strategy: Strategy) -> dict[str, float]:
        """The sums over all processes, each of which must call this."""
        # A copy: DDP reduces in place, and a total taken in mid-epoch, for a checkpoint, must leave the sums alone
        everywhere = strategy.reduce(self._sums.to(strategy.root_device, copy=True), reduce_op="sum")
        return dict(zip(self.names, everywhere.tolist(), strict=True))

    def state_dict(self, strategy: Strategy) -> dict[str, Any]:
        """What goes into a checkpoint: the sums over all processes, each of which must call this."""
        return self.total(strategy)

    def load_state_dict(self, state: dict[str, Any], rank: int) -> None:
        """Goes on from a checkpoint: the first process holds its sums, the others nothing, whatever their number."""
        self.reset()
        if rank == 0:
            self._sums = torch.tensor([state[name] for name in self.names], dtype=torch.float64)
