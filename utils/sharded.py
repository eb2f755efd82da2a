"""Sharded tensors, such as weights and gradients under FSDP: the part of this process, and the whole tensor.

For tensors that are whole everywhere, both are the tensor itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Return whether a tensor may be split over processes."""
    # Nothing is split where nobody has imported the class, whose module takes seconds to import
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_part(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor, which shares its memory."""
    if not is_sharded(tensor):
        return tensor
    part: Tensor = tensor.to_local()
    return part


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor; if it is split, every process must call this."""
    if not is_sharded(tensor):
        return tensor
    everything: Tensor = tensor.full_tensor()
    return everything
