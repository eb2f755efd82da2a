"""Sums over an epoch, kept in checkpoints so that a run resumed in mid-epoch continues them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain

import torch
from torch import Tensor

from utils.devices import widest_float
from utils.distributed import gather_parts

AT_ONCE = 1024
"""Number of tensors kept before they are stacked into one, since each small tensor takes 512 bytes of a GPU."""


class EpochSums:
    """Named sums of numbers, exact in float64; each process has its own until they are read.

    Averages of averages are wrong if batches, epochs or processes have different sizes; sums and counts are not. The
    numbers are kept and summed exactly when the sums are read, so that a total depends neither on their order nor on
    the number of processes, and a resumed run has the totals of one that was never interrupted.

    Args:
        *names: What is summed, such as "loss" and "examples".
    """

    def __init__(self, *names: str):
        self.names = names
        self.reset()

    def reset(self) -> None:
        """Set all sums to zero: a new epoch begins."""
        self._new: list[Tensor] = []  # each [names]
        self._stacks: list[Tensor] = []  # each [AT_ONCE, names]
        self._known: dict[str, list[float]] = {name: [] for name in self.names}

    def add(self, *values: Tensor | float) -> None:
        """Add one value to each sum, in the order of the names, without waiting for the device of the first tensor."""
        device = next((value.device for value in values if isinstance(value, Tensor)), torch.device("cpu"))
        new = [
            value.detach().to(device, widest_float(device)) if isinstance(value, Tensor) else _constant(value, device)
            for value in values
        ]
        self._new.append(torch.stack(new))
        if len(self._new) == AT_ONCE:
            self._stacks.append(torch.stack(self._new))
            self._new = []

    def parts(self) -> dict[str, list[float]]:
        """Return for each name a few numbers whose exact sum is that of all processes; every process must call this."""
        self._fold()
        everywhere = gather_parts(self._known)
        return {name: exact_parts([part for each in everywhere for part in each[name]]) for name in self.names}

    def total(self) -> dict[str, float]:
        """Return the sums over all processes, rounded once, by name; every process must call this."""
        return {name: math.fsum(parts) for name, parts in self.parts().items()}

    def mean(self, name: str, count: str = "examples") -> float:
        """Return a sum over all processes per example, 0 without any; every process must call this."""
        total = self.total()
        return total[name] / max(1.0, total[count])

    def load(self, parts: Mapping[str, list[float] | float], rank: int) -> None:
        """Continue from what `parts` returned: the first process takes all of it, the others, however many, nothing.

        Checkpoints from before sums were exact hold one number for each.
        """
        self.reset()
        if rank == 0:
            known = {name: parts[name] for name in self.names}
            self._known = {name: [each] if isinstance(each, float) else list(each) for name, each in known.items()}

    def _fold(self) -> None:
        """Replace what was added by fewer numbers with the same exact sum."""
        stacks = self._stacks + ([torch.stack(self._new)] if self._new else [])
        columns = [stack.T.tolist() for stack in stacks]  # the only wait for the device
        self._new, self._stacks = [], []
        self._known = {
            name: exact_parts([*self._known[name], *chain.from_iterable(column[place] for column in columns)])
            for place, name in enumerate(self.names)
        }


@lru_cache(maxsize=32)
def _constant(value: float, device: torch.device) -> Tensor:
    """Return a number on a device, without copying it there: that would wait for a GPU."""
    return torch.full((), value, dtype=widest_float(device), device=device)


def exact_parts(values: Sequence[float]) -> list[float]:
    """Return as few numbers as needed whose exact sum is that of the given ones, the largest first.

    A sum that is not finite is returned as a single number.
    """
    if not all(map(math.isfinite, values)):
        return [sum(values)]
    parts: list[float] = []
    while rest := math.fsum(chain(values, (-part for part in parts))):
        parts.append(rest)
    return parts
