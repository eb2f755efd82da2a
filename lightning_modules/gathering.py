"""What the processes of a training have each made, brought together."""

from typing import Any

import torch
import torch.distributed


def gathered(mine: list[Any]) -> list[Any]:
    """The items of all processes, each of which must call this."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, mine)
    return [item for part in parts for item in part]
