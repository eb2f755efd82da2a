"""Random numbers that are a pure function of a key such as (seed, epoch, step, rank).

Nothing to save, nothing to restore.
"""

from __future__ import annotations

import numpy as np
import torch


def _mixed(key: tuple[int, ...]) -> int:
    """One well mixed 63-bit number for a key of non-negative integers (numpy's SeedSequence hash)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(*key: int) -> torch.Generator:
    """A CPU generator for this key. Drawing on the CPU gives the same numbers whatever device the batch is on.

    Args:
        key: Non-negative integers, e.g. ``(seed, epoch, step, rank)``.
    """
    return torch.Generator().manual_seed(_mixed(key))


def numpy_generator(*key: int) -> np.random.Generator:
    """A numpy generator for this key, for the distributions torch draws only from its global state (Beta)."""
    return np.random.default_rng(_mixed(key))
