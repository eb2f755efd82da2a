"""Tensors by name, as in a state dict: their digests, and whether all of their values are finite."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digests_of(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return a digest of dtype, shape and values of each tensor, wherever it is and however it lies in memory.

    It shows accidents, not malice. Tensors that are no plain block of memory, such as shards of a distributed one, have
    none: to read those takes all processes.
    """
    return {name: _digest(tensor) for name, tensor in weights.items() if _is_plain(tensor)}


def check_digests(weights: Mapping[str, Tensor], digests: Mapping[str, str]) -> None:
    """Raise ValueError, naming the first tensor, unless each tensor is as it was when its digest was taken."""
    found = digests_of(weights)
    for name in [*digests, *found]:
        if name not in weights:
            raise ValueError(f"{name} was removed from its weights after they were saved")
        if digests.get(name) != found.get(name):
            raise ValueError(f"{name} of its weights was altered after it was saved")


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming the first tensor, unless all values are finite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and _is_plain(tensor) and not _is_finite(tensor.detach()):
            raise ValueError(f"{name} holds values that are infinite or not a number (NaN)")


def _is_finite(tensor: Tensor) -> bool:
    values = tensor.float() if tensor.element_size() == 1 else tensor  # sums of float8 are missing from torch
    # The sum is finite only if all values are, and takes a fraction of the time; it may also overflow
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def _digest(tensor: Tensor) -> str:
    start = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{zlib.crc32(values, start):08x}"


def _is_plain(tensor: Tensor) -> bool:
    of_plain_type = type(tensor) in (Tensor, torch.nn.Parameter)
    return of_plain_type and tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)
