"""Lost processes of a distributed run: how the others find out which one has ended, and why.

A process that ends with an error leaves a note in the store by which the processes found each other (torch's TCPStore,
of the first process). One that was killed leaves none. A process whose connection breaks leaves a note that it is
alive, and waits for the others to do the same: any that stays silent has died.
"""

from __future__ import annotations

import time
from typing import Any

import torch.distributed
from lightning.pytorch import Trainer

from utils.error_text import first_sentence

SECONDS_FOR_NOTES = 5.0
_NOTE = "oneforall/ended/{}"
_WITNESS = "-"
_SIGNS = ("gloo/", "nccl", "tcpstore")


class LostProcessError(RuntimeError):
    """A run that cannot continue because one of its processes has ended."""


def settle_with_others(trainer: Trainer, error: Exception) -> None:
    """Tell the other processes of a run, if it has any, of an error that ends this one.

    Raises:
        LostProcessError: The error is that another process has ended; the message names its rank.
    """
    rank, world_size = trainer.global_rank, trainer.world_size
    if world_size == 1:
        return
    lost = lost_processes(rank, world_size) if is_lost_connection(error) else None
    if lost is None:
        leave_note(rank, f"{type(error).__name__}: {first_sentence(error)}")
        return
    message = f"rank {rank} cannot continue: {lost} ({first_sentence(error)})"
    leave_note(rank, message)
    raise LostProcessError(message) from error


def is_lost_connection(error: BaseException) -> bool:
    """Return whether an error, or the cause that it names, may mean that another process does not answer."""
    kinds = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    return any(
        isinstance(each, kinds)
        or (isinstance(each, RuntimeError) and any(sign in str(each).lower() for sign in _SIGNS))
        for each in (error, error.__cause__)
    )


def leave_note(rank: int, message: str) -> None:
    """Tell the other processes why this one ends."""
    _write(rank, message or "?")


def lost_processes(rank: int, world_size: int) -> str | None:
    """Return which other processes have ended, and why, as far as that can be found out within a few seconds.

    None if all of them are there.
    """
    try:
        _write(rank, _WITNESS, errors=True)
        deadline = time.monotonic() + SECONDS_FOR_NOTES
        while True:
            notes = {other: _read(other) for other in range(world_size) if other != rank}
            if failed := {other: note for other, note in notes.items() if note not in (None, _WITNESS)}:
                return "; ".join(f"rank {other} has ended: {note}" for other, note in failed.items())
            silent = [other for other, note in notes.items() if note is None]
            if not silent or time.monotonic() >= deadline:
                break
            time.sleep(0.1)
    except (RuntimeError, ValueError):  # the store has gone, and with it the process that hosts it
        silent = [0] if rank else []
    if not silent:
        return None
    return f"rank {', '.join(map(str, silent))} does not answer; it was killed, ran out of memory or hangs"


def _store() -> Any:
    return torch.distributed.distributed_c10d._get_default_store()


def _write(rank: int, note: str, errors: bool = False) -> None:
    try:
        _store().set(_NOTE.format(rank), note)
    except (RuntimeError, ValueError):  # no process group yet, or no store any more
        if errors:
            raise


def _read(rank: int) -> str | None:
    key, store = _NOTE.format(rank), _store()
    return store.get(key).decode() if store.check([key]) else None
