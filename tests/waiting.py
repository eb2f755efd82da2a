"""What a program does that makes it wait for a device, or needs float64, which not every device has: without one.

PyTorch's meta device stands in for a GPU. Its tensors have shapes and no values, so that whatever needs a value of a
"device" tensor, or a shape that depends on values, shows at once, and networks of any size take no time. Tensors on the
CPU have values, as beside a GPU.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from utils import devices

ROOT = Path(__file__).parents[1]
DEVICE = torch.device("meta")
"""What stands in for a GPU."""

HIDDEN = (__file__, *(str(Path(torch.__file__).parent / name) for name in ("_", "utils/_")))
"""How the names of files begin that say nothing about who waits."""

aten = torch.ops.aten
SHAPE_FROM_VALUES = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten._unique.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
    aten.equal.default,
}
"""Operators whose result cannot be known, or even allocated, before the device has computed their input."""

COPIES = {aten._to_copy.default, aten.copy_.default}


class Waits(TorchDispatchMode):
    """Lists the operators that would wait for a GPU, with the lines that call them, while `counting` is true.

    Attributes:
        found: One line per wait.
        operators: Number of operators on the device so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counting = True
        self.found: list[str] = []
        self.operators = 0
        self._pinned: list[Tensor] = []  # kept, so that no other tensor gets their memory

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = self._run(func, args, kwargs or {})
        if any(tensor.device == DEVICE and tensor.dtype == torch.float64 for tensor in _tensors(result)):
            self.note(f"{func}: numbers of float64")
        return result

    def _run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Run an operator, and note if that waits."""
        tensors = _tensors((args, kwargs))
        there = [tensor for tensor in tensors if tensor.device == DEVICE]
        if func in COPIES:
            return self._copy(func, args, kwargs)
        if there:
            self.operators += self.counting
            if func is aten._local_scalar_dense.default:
                self.note("reads a number")
                return torch.ones((), dtype=there[0].dtype).item()
            if func in SHAPE_FROM_VALUES or _is_unsized(func, args, kwargs):
                self.note(f"{func}: a shape that depends on values")
                raise NotImplementedError(f"{func} on {DEVICE}")
            if any(tensor.device != DEVICE and tensor.ndim for tensor in tensors):
                self.note(f"{func}: tensors of the CPU and of the device together")
            if func.name().startswith("aten::_fused_") and not func._schema.returns:
                return None  # it would change what has no values, and not every one of them knows such tensors
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Copy a tensor, and note if that waits."""
        is_new = func is aten._to_copy.default
        source, target = (args[0], kwargs.get("device") or args[0].device) if is_new else (args[1], args[0].device)
        non_blocking = kwargs.get("non_blocking", False) if is_new else (*args, False)[2]
        self.operators += self.counting and DEVICE in (source.device, target)
        if source.device == DEVICE and target.type == "cpu":
            self.note("copies from the device")
            values = torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
            return values if is_new else args[0].copy_(values)
        if source.device.type == "cpu" and target == DEVICE and source.numel():
            if not non_blocking:
                self.note("copies to the device without non_blocking")
            elif not any(source.data_ptr() == pinned.data_ptr() for pinned in self._pinned):
                self.note("copies to the device from memory that is not pinned")
        return func(*args, **kwargs)

    def pin(self, tensor: Tensor) -> Tensor:
        """Return what stands in for a copy of a tensor in pinned memory."""
        assert tensor.device.type == "cpu"
        copy = tensor.clone()
        self._pinned = [*self._pinned[-1000:], copy]
        return copy

    def note(self, what: str) -> None:
        """Add a wait to those found, if they are counted now."""
        if self.counting:
            self.found.append(f"{what}: {_caller()}")


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _is_unsized(func: Any, args: tuple, kwargs: dict) -> bool:
    """Return whether an operator finds out by itself how large its result is."""
    if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        filled = len(args) > 2 and args[2].numel() == 1 and args[2].device.type == "cpu"  # `masked_fill` does it
        return bool(masks) and not filled
    return func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None


def _caller() -> str:
    """Return the line that waits, and the line of the project that leads there if that is another."""
    stack = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(HIDDEN)]
    ours = [each for each in stack if Path(each.filename).is_relative_to(ROOT) and "site-packages" not in each.filename]
    places = dict.fromkeys(f"{frame.filename}:{frame.lineno} ({frame.line})" for frame in [stack[-1], *ours[-1:]])
    return ", from ".join(places)


@contextmanager
def no_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """List the waits of what runs in the block, where `DEVICE` can do what it cannot elsewhere.

    Memory can be pinned for it, and `torch.tensor` notes that it would copy to a GPU. There is no autocast for it.
    """
    waits = Waits()
    monkeypatch.setattr(devices, "_WITHOUT_FLOAT64", ("mps", DEVICE.type))
    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *_, **__: waits.pin(self))
    for name in ("tensor", "as_tensor"):
        monkeypatch.setattr(torch, name, _noting(getattr(torch, name), waits))
    is_enabled, autocast = torch.is_autocast_enabled, torch.autocast
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind != DEVICE.type and is_enabled(kind))
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda kind, *args, **kwargs: autocast("cpu" if kind == DEVICE.type else kind, *args, **kwargs),
    )
    with waits:
        yield waits


def _noting(function: Callable[..., Tensor], waits: Waits) -> Callable[..., Tensor]:
    """Return `torch.tensor` or `torch.as_tensor`, which on a GPU copies its values there and waits."""

    def build(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if device is not None and torch.device(device) == DEVICE and not isinstance(data, Tensor):
            waits.note(f"torch.{function.__name__} copies to the device")
        return function(data, *args, device=device, **kwargs)

    return build
