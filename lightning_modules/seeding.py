"""One seed for each training step, so that a resumed run draws what the uninterrupted one drew."""

import hashlib

import torch


def step_seed(seed: int, epoch: int, batch_idx: int, rank: int) -> int:
    """A 63-bit seed that depends on all four numbers and on nothing else."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{batch_idx}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def reseed(seed: int, epoch: int, batch_idx: int, rank: int) -> None:
    """Seeds torch's global generators for one step: dropout takes no generator of its own.

    Lightning keeps no random state in a checkpoint; with the state a pure function of the position there is
    none to keep.
    """
    torch.manual_seed(step_seed(seed, epoch, batch_idx, rank))
