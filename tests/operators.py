"""A count of the operators that compute: on a GPU, each is at least one launch."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class CountOperators(TorchDispatchMode):
    """Counts the calls of operators in a `with` block, views aside; `number` has them."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operator and run it."""
        views = func.is_view or func.namespace == "profiler" or func is torch.ops.aten._unsafe_view.default
        self.number += not views and func is not torch.ops.aten.promote_types.default
        return func(*args, **(kwargs or {}))
