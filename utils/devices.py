"""Devices: asynchronous copies of tensors to one, the widest numbers that it has, and memory sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

_BLOCKING = ("cpu", "mps")
"""Device types to which nothing need be copied, or (pytorch issue 83015) nothing can be copied without waiting."""

_WITHOUT_FLOAT64 = ("mps",)
"""Device types that have no float64: Apple's GPUs."""


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; one on the CPU is copied without waiting, once the device gets to it.

    That takes pinned memory, which PyTorch keeps until the copy is done. A copy from other memory would first wait for
    all pending work of the device.
    """
    if device.type in _BLOCKING or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, or float32 for a device that has nothing wider."""
    return torch.float32 if device.type in _WITHOUT_FLOAT64 else torch.float64


def widened(tensor: Tensor) -> Tensor:
    """Return a tensor in the widest float that its device has."""
    return tensor.to(widest_float(tensor.device))


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU; 0 for any other device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def memory_bytes() -> int:
    """Return how much main memory this process may use: the machine's, or the limit of its container or cluster job."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_memory_limits()])


def _memory_limits(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the limits of the control groups of this process, which Linux has for containers and jobs.

    Args:
        groups: File that names the groups, as `0::/a/b` (version 2) or `5:memory:/a/b` (version 1).
        root: Folder where the groups are; in a container, its own group is the root.
    """
    try:
        lines = groups.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            try:
                limit = (folder / name).read_text(encoding="utf-8").strip()
            except OSError:
                continue
            if limit.isdecimal():  # else "max"
                yield int(limit)
