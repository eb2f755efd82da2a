"""The checkpoint in a run folder that stands for the run."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = {"best.ckpt": "best score", "last.ckpt": "latest state"}
"""Checkpoints that stand for a run, the preferred one first, and what each of them holds."""


def weights_of_run(folder: Path) -> Path | None:
    """Return best.ckpt, else last.ckpt, of a run folder or of its folder of checkpoints; None if there is neither."""
    places = (place / name for name in WEIGHTS for place in (folder / "checkpoints", folder))
    return next((file for file in places if file.is_file()), None)
