"""Digests of state dicts and other state, and whether all values are finite."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter


def digests_of(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return a digest of dtype, shape and values of each tensor, whatever its device and memory layout.

    It detects accidents, not malice. Tensors that are not a plain block of memory, such as shards of a distributed one,
    have none: reading those takes all processes.
    """
    return {name: digest_of(tensor) for name, tensor in weights.items() if _is_plain(tensor)}


def digest_of(value: Any) -> str:
    """Return a digest of tensors and plain values nested in dicts and lists, unchanged by saving and loading."""
    return f"{_crc32(value, 0):08x}"


def plain_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that were read from a file as a plain dict of plain tensors.

    Raises:
        ValueError: A tensor is sparse, quantized, without values, conjugated, larger than the memory that it has, or
            has attributes of its own; the message names the first. Trained weights never are.
    """
    found = dict(dict.items(weights)) if isinstance(weights, dict) else dict(weights)  # whatever its attributes say
    for name, tensor in found.items():
        if type(tensor) not in (Tensor, Parameter) or vars(tensor) or not _is_dense(tensor):
            raise ValueError(f"{name} of its weights is not a plain tensor")
    return found


def with_versions_of(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as a state dict of the versions of a module's parts: torchvision's MNASNet takes no plain dict."""
    state = OrderedDict(weights)
    state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    return state


def _is_dense(tensor: Tensor) -> bool:
    usual = tensor.layout == torch.strided and tensor.device.type != "meta" and not tensor.is_quantized
    return usual and not tensor.is_conj() and not tensor.is_neg() and _fits_its_memory(tensor)


def _fits_its_memory(tensor: Tensor) -> bool:
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def check_digests(weights: Mapping[str, Tensor], digests: Mapping[str, str]) -> None:
    """Raise ValueError, naming the first tensor, unless each tensor is as it was when its digest was taken."""
    found = digests_of(weights)
    for name in [*digests, *found]:
        if name not in weights:
            raise ValueError(f"{name} is missing from its weights, but was present when they were saved")
        if digests.get(name) != found.get(name):
            raise ValueError(f"{name} of its weights was altered after it was saved")


def check_finite(weights: Mapping[str, Tensor], infinite_ok: bool = False) -> None:
    """Raise ValueError, naming the first tensor, unless all values are finite, or at least none is NaN."""
    for name, tensor in weights.items():
        if (
            not (tensor.is_floating_point() or tensor.is_complex())
            or not _is_plain(tensor)
            or _is_finite(tensor.detach())
        ):
            continue
        if not infinite_ok or tensor.isnan().any():
            raise ValueError(f"{name} holds values that are infinite or not a number (NaN)")


def _is_finite(tensor: Tensor) -> bool:
    values = tensor.float() if tensor.element_size() == 1 else tensor  # sums of float8 are missing from torch
    # The sum is finite only if all values are, and takes a fraction of the time; it may also overflow
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def _crc32(value: Any, start: int) -> int:
    if isinstance(value, dict):
        for key, each in value.items():
            start = _crc32(each, _crc32(key, start))
        return zlib.crc32(f"dict {len(value)}".encode(), start)
    if isinstance(value, list | tuple):
        for each in value:
            start = _crc32(each, start)
        return zlib.crc32(f"list {len(value)}".encode(), start)
    if isinstance(value, Tensor) and _is_plain(value):
        start = zlib.crc32(f"{value.dtype} {tuple(value.shape)}".encode(), start)
        values = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return zlib.crc32(values.data, start)
    plain = value is None or isinstance(value, str | bytes | bool | int | float)
    return zlib.crc32((repr(value) if plain else type(value).__name__).encode(errors="replace"), start)


def _is_plain(tensor: Tensor) -> bool:
    of_plain_type = type(tensor) in (Tensor, torch.nn.Parameter)
    return of_plain_type and tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized)
