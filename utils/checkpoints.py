"""Checkpoint files, which may be damaged, foreign or hostile: read as data, verified, the newest intact one found."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

FORMAT = 2
"""Number of what a checkpoint holds and means; 1 had the class paths and random streams of version 0.1."""


def load_plain(path: str | Path) -> Any:
    """Return what `torch.save` wrote into a file, without running anything that the file may contain.

    Tensors are mapped from the file where its format allows it, so that a look at a large one costs nothing.

    Raises:
        ValueError: The file is damaged, or could run code; the message gives the reason alone.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch, pickle and zipfile have many for a damaged file
        if "Weights only load failed" in str(error):
            raise ValueError("it is not plain data: loading it could run code") from error
        raise ValueError(f"it is damaged or truncated: {type(error).__name__}") from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint that `oneforall fit` wrote, of any format.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, could run code, or was not written by `oneforall fit`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; pass --ckpt_path runs/NAME/checkpoints/best.ckpt")
    try:
        checkpoint = load_plain(path)
    except ValueError as error:
        raise ValueError(
            f"checkpoint {path} cannot be read ({error}); use another one, such as previous.ckpt beside it"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "config" not in checkpoint:
        raise ValueError(
            f"checkpoint {path} was not written by `oneforall fit` (it has no config); to start from its weights pass "
            f"--model.init_from {path}"
        )
    return checkpoint


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the resolved config that a checkpoint of this format carries.

    Raises:
        FileNotFoundError, ValueError: As `read_checkpoint`, and for a checkpoint of another format.
    """
    checkpoint = read_checkpoint(path)
    check_format(checkpoint, path)
    config: dict[str, Any] = checkpoint["config"]
    return config


def check_format(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Raise ValueError, with what to do instead, unless a checkpoint is of this version's format."""
    found = checkpoint.get("format", 1)
    if found != FORMAT:
        age = "an earlier" if isinstance(found, int) and found < FORMAT else "another"
        raise ValueError(
            f"checkpoint {path} was written by {age} version of this program (format {found}, this version reads "
            f"{FORMAT}); start a new run from its weights with --model.init_from {path}"
        )


def is_intact(path: Path) -> bool:
    """Return whether a checkpoint can be resumed from: complete, its checksums right, and written by `fit`."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        return "loops" in read_checkpoint(path)
    except Exception:  # zipfile has many for a damaged archive, EOFError and NotImplementedError among them
        return False


def newest_intact_checkpoint(run_dir: Path) -> str | None:
    """Return the checkpoint that `--resume` continues from, or None for a run that has none yet.

    Warns:
        UserWarning: The newest one is damaged and the one before it is used.

    Raises:
        ValueError: There are checkpoints but none is intact (starting again would overwrite them), or the newest
            intact one is of another format.
    """
    candidates = [run_dir / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]
    present = [path for path in candidates if path.is_file()]
    for path in present:
        if is_intact(path):
            check_format(read_checkpoint(path), path)
            return str(path)
        warnings.warn(f"{path} is damaged and is skipped", stacklevel=2)
    if present:
        raise ValueError(f"no checkpoint in {run_dir / 'checkpoints'} is intact; remove them to start the run again")
    return None


def explain_misfit(path: str | Path, error: RuntimeError) -> str | None:
    """Return torch's report on weights that do not fit a model as one line, with the first names that differ.

    None for an error of another kind.
    """
    first, *lines = str(error).splitlines() or [""]
    if not first.startswith("Error(s) in loading state_dict"):
        return None
    problems: list[str] = []
    for line in lines:
        kind = "missing" if "Missing key" in line else "unexpected"
        names = re.findall(r'"([^"]+)"', line)
        problems += [f"{kind} {name}" for name in names] or [line.strip().rstrip(".")]
    return (
        f"the weights in {path} do not fit the model ({first_few(problems)}); leave out the flags of --model that "
        "differ from the run it is from"
    )


def first_few(problems: list[str], shown: int = 3) -> str:
    """Return the first problems, and how many more there are, as one line."""
    more = f"; and {len(problems) - shown} more" if len(problems) > shown else ""
    return "; ".join(problems[:shown]) + more
