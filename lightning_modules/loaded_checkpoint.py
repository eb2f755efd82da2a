"""Verification of a loaded checkpoint, before a LightningModule takes anything from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Trainer

from utils.checkpoints import unreadable, verify_weights
from utils.plain_data import check_entries, check_like

LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")


def verify_loaded(
    checkpoint: Mapping[str, Any],
    key: str,
    types: Mapping[str, Any],
    trainer: Trainer | None,
    optional: Sequence[str] = (),
) -> None:
    """Raise ValueError unless the weights of a checkpoint are as they were saved, and the rest is what it must be.

    This checks what was loaded, whether Lightning or this program loaded it, and from whatever file.

    Args:
        checkpoint: The loaded checkpoint, without `state_dict` where the strategy loads the weights itself.
        key: Name of the module's state in it.
        types: The types of the entries of that state.
        trainer: The trainer that loads it, if any, whose loops show what their states must be.
        optional: Entries that may be missing.
    """
    try:
        if "state_dict" in checkpoint:
            verify_weights({**checkpoint, "state_dict": dict(dict.items(checkpoint["state_dict"]))})
        check_entries(checkpoint, {key: dict[str, Any]}, needed=(key,))
        check_entries(checkpoint[key], types, tuple(name for name in types if name not in optional), key)
        for name, state in (checkpoint.get("loops") or {}).items():
            if name in LOOPS and hasattr(trainer, name):
                check_like(state, getattr(trainer, name).state_dict(), f"loops.{name}")
    except ValueError as error:
        raise unreadable(getattr(trainer, "ckpt_path", None) or "in memory", error) from error
