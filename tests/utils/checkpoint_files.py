"""Checkpoint files to read: whole, or truncated."""

from pathlib import Path
from typing import Any

import torch

from utils.checkpoints import FORMAT, read_config


def write(path: Path, epoch: int = 0, **more: Any) -> Path:
    """Write a checkpoint; entries that are None are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "state_dict": {"w": torch.arange(4000.0)},
        "config": {"a": 1},
        "format": FORMAT,
        "pytorch-lightning_version": "2.6.0",
        "loops": {},
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [{"last_epoch": 3}],
        "epoch": epoch,
        **more,
    }
    torch.save({name: value for name, value in content.items() if value is not None}, path)
    return path


def truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def can_be_resumed(path: Path) -> bool:
    """Whether a run can be resumed from a checkpoint: complete, undamaged, and written by this version."""
    try:
        read_config(path, to_resume=True)
    except (ValueError, OSError):
        return False
    return True
