"""Checkpoint files, which may be damaged, foreign or hostile: reading as data, verification, the newest intact one."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version
from torch import Tensor

from utils.error_text import first_few
from utils.files import require_checkpoint
from utils.plain_data import check_entries
from utils.torch_files import load_plain
from utils.weights import check_digests, check_finite, digest_of, digests_of, plain_weights

FORMAT = 2
"""Version of the checkpoint format; 1 had the class paths and random streams of version 0.1."""

LIGHTNING = "pytorch-lightning_version"

ENTRIES = {
    "state_dict": dict[str, Tensor],
    "digests": dict[str, str],
    "training_digests": dict[str, str],
    "config": dict[str, Any],
    LIGHTNING: str,
    "epoch": int,
    "global_step": int,
    "loops": dict[str, dict[str, Any]],
    "callbacks": dict[str, Any],
    "optimizer_states": list[dict[str, Any]],
    "lr_schedulers": list[dict[str, Any]],
    "hyper_parameters": dict[str, Any],
    "metrics_rows": list[int],
    "metrics_last_rows": list[dict[str, Any]],
    "metrics_step": int,
    "batch_plan": dict[str, Any],
    "optimizer_settings": list[list[dict[str, Any]]],
    "training_data": dict[str, Any],
    "current_model_state": dict[str, Tensor],
    "averaging_state": dict[str, Any],
    "ended_early": bool,
}
"""The types of the entries that are read from a checkpoint."""

TO_ACCEPT = "if you altered it on purpose, remove its entry"

NEEDED = ("state_dict", "config", LIGHTNING)
NEEDED_TO_RESUME = ("loops", "callbacks", "optimizer_states", "lr_schedulers")
WITH_DIGEST = (
    *("loops", "callbacks", "optimizer_states", "lr_schedulers", "current_model_state", "averaging_state"),
    *("batch_plan", "optimizer_settings", "training_data"),
)
"""Entries with a digest, besides the weights: a fault in them would show only as training continues."""


class Damaged(ValueError):
    """A checkpoint that cannot be used because it is damaged, could run code, or lacks a required entry."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint that `oneforall fit` wrote, of any format, once its weights have been verified.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, could run code, or was not written by `oneforall fit`, or its weights have been
            altered or are not finite. The message is one line; it names the tensor if one is at fault.
        OSError: The system does not let the file be read.
    """
    path = Path(path)
    with _naming_unread(path):
        require_checkpoint(path)
        try:
            checkpoint = load_plain(path)
        except ValueError as error:
            raise unreadable(path, error) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "config" not in checkpoint:
        raise Damaged(
            f"checkpoint {path} was not written by `oneforall fit` (it has no config); to start from its weights pass "
            f"--model.init_from {path}"
        )
    try:
        check_entries(checkpoint, ENTRIES, needed=())
        checkpoint["state_dict"] = plain_weights(checkpoint["state_dict"])
        verify_weights(checkpoint)
    except ValueError as error:
        raise unreadable(path, error) from error
    except (RuntimeError, TypeError, AttributeError, RecursionError, MemoryError) as error:  # odd values may raise any
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    return checkpoint


def unreadable(path: str | Path, reason: object) -> Damaged:
    """Return the error that says in one line why a checkpoint cannot be used, and what to do."""
    clause = " ".join(str(reason).split())
    return Damaged(f"checkpoint {path} cannot be read ({clause}); use another one, such as previous.ckpt beside it")


@contextmanager
def _naming_unread(path: Path) -> Iterator[None]:
    """Raise an OSError of the block, unless the file is missing, with a message that names the checkpoint."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error


def add_digests(checkpoint: dict[str, Any]) -> None:
    """Add digests of the weights and of the training state to a checkpoint that is about to be written."""
    checkpoint["digests"] = digests_of(checkpoint["state_dict"])
    checkpoint["training_digests"] = {key: digest_of(checkpoint[key]) for key in WITH_DIGEST if key in checkpoint}


def verify_weights(checkpoint: Mapping[str, Any]) -> None:
    """Raise ValueError, giving only the reason, if weights were altered after they were saved, or are not finite.

    Checkpoints from before there were digests are checked only for the latter.
    """
    if "digests" in checkpoint:
        try:
            check_digests(checkpoint["state_dict"], checkpoint["digests"])
        except ValueError as error:
            raise ValueError(f"{error}; {TO_ACCEPT} `digests`") from error
    # Digests show that an infinite value is what training wrote, such as a mask in a buffer
    check_finite(checkpoint["state_dict"], infinite_ok="digests" in checkpoint)


def read_config(path: str | Path, to_resume: bool = False) -> dict[str, Any]:
    """Return the resolved config that a checkpoint of this format carries.

    Args:
        path: The checkpoint.
        to_resume: Whether training is to continue from it, so that the training state is verified as well.

    Raises:
        FileNotFoundError, ValueError: As `read_checkpoint`, and for a checkpoint of another format, or one that
            Lightning could not load.
    """
    config: dict[str, Any] = _read_current(path, to_resume)["config"]
    return config


def _read_current(path: str | Path, to_resume: bool = False) -> dict[str, Any]:
    """Return a checkpoint of this format; with `to_resume`, one that has everything that resuming needs."""
    checkpoint = read_checkpoint(path)
    check_format(checkpoint, path)
    try:
        check_entries(checkpoint, ENTRIES, NEEDED + (NEEDED_TO_RESUME if to_resume else ()))
        _check_lightning(checkpoint)
        if to_resume:
            _verify_training(checkpoint)
    except ValueError as error:
        raise unreadable(path, error) from error
    except (RuntimeError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    return checkpoint


def _verify_training(checkpoint: dict[str, Any]) -> None:
    """Raise ValueError if the training state was altered after it was saved."""
    for key, digest in checkpoint.get("training_digests", {}).items():
        if digest_of(checkpoint.get(key)) != digest:
            raise ValueError(f"its entry {key} was altered after it was saved; {TO_ACCEPT} `training_digests`")


def _check_lightning(checkpoint: dict[str, Any]) -> None:
    """Raise ValueError unless Lightning can read checkpoints of the saved version, which it does not check itself."""
    found = checkpoint[LIGHTNING]
    try:
        readable = Version(found) >= Version("2.0")
    except InvalidVersion:
        readable = False
    if not readable:
        raise ValueError(f"its entry {LIGHTNING} must be version 2.0 or later, not {found[:40]!r}")


def check_format(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Raise ValueError, with what to do instead, unless a checkpoint is of this version's format."""
    found = checkpoint.get("format", 1)
    if type(found) is not int or found != FORMAT:
        age = "an earlier" if type(found) is int and found < FORMAT else "another"
        shown = " ".join(str(found)[:40].split())
        raise ValueError(
            f"checkpoint {path} was written by {age} version of this program (format {shown}, this version reads "
            f"{FORMAT}); start a new run from its weights with --model.init_from {path}"
        )


def newest_intact_checkpoint(run_dir: Path) -> str | None:
    """Return the checkpoint that `--resume` continues from, or None for a run that has none yet.

    Warns:
        UserWarning: The newest one is damaged or cannot be read, and the one before it is used.

    Raises:
        ValueError: There are checkpoints but none is intact (starting again would overwrite them), or the newest
            intact one is of another format.
        OSError: None is known to be intact, because the system does not let one be read.
    """
    candidates = [run_dir / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]
    present = [path for path in candidates if path.is_file()]
    damage: Damaged | None = None
    unread: OSError | None = None
    for path in present:
        try:
            _read_current(path, to_resume=True)
        except Damaged as error:
            damage = error
            warnings.warn(f"{path} is damaged and is skipped: {error}", stacklevel=2)
        except OSError as error:
            unread = error
            warnings.warn(f"{path} is skipped: {error}", stacklevel=2)
        else:
            return str(path)
    if unread is not None:  # it may be intact: nobody should remove it
        raise OSError(f"{unread}; make it readable and resume again, or choose another --run_dir") from unread
    if damage is not None:
        raise ValueError(
            f"no checkpoint in {run_dir / 'checkpoints'} is intact; remove them to start the run again ({damage})"
        )
    return None


def explain_restore(path: str | Path, error: Exception) -> str | None:
    """Return as one line why Lightning could not restore what a checkpoint holds; None for an error of another kind."""
    frames = traceback.extract_tb(error.__traceback__)
    restoring = any(frame.filename.endswith("checkpoint_connector.py") and "resto" in frame.name for frame in frames)
    ours_to_say = isinstance(error, ValueError | OSError) and "site-packages" not in frames[-1].filename
    if not restoring or ours_to_say:
        return None
    misfit = explain_misfit(path, error) if isinstance(error, RuntimeError) else None
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return misfit or str(unreadable(path, f"its state cannot be restored: {reason}"))


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
        f"the weights in {path} do not fit the model ({first_few(problems)}); remove the --model flags that differ "
        "from the run that wrote it"
    )
