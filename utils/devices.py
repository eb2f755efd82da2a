"""Data on its way to the device that computes with it: copies for which nothing waits."""

from __future__ import annotations

import os

import torch
from torch import Tensor

_BLOCKING = ("cpu", "mps")
"""Types of devices to which there is nothing to copy, or (pytorch issue 83015) not without waiting."""


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; one of the CPU is copied without waiting, as soon as the device gets there.

    That takes pinned memory, which PyTorch keeps until the copy is done. Any other would first wait for all that the
    device has to do.
    """
    if device.type in _BLOCKING or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def free_bytes(device: torch.device) -> int:
    """Return how much memory of a GPU nobody uses; 0 for any other device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def memory_bytes() -> int:
    """Return how much main memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
