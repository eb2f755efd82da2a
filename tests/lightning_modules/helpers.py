"""A Trainer that says nothing and writes nothing."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer


def quiet_trainer(folder: str | Path, **arguments: Any) -> Trainer:
    """Return a Trainer for one epoch on the CPU, without loggers, checkpoints, bars and sanity check."""
    settings = {
        "default_root_dir": folder,
        "max_epochs": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    return Trainer(accelerator="cpu", **{**settings, **arguments})
