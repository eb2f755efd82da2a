"""Locks on a folder that only one process may write to; they end with the process, however that ends."""

from __future__ import annotations

import errno
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


def _open(folder: Path) -> int:
    """Return a descriptor of the file in a folder that is locked; a link in its place is not followed."""
    return os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)


class FolderLock:
    """Lock on a folder, taken at once and held until `release` or the end of the process.

    It is a POSIX record lock on `.lock` in the folder: child processes do not inherit it, and a file left by a killed
    process locks nothing. The file names the holder. It is never removed, because another process may be about to lock
    it. Where the file system has no locks, the folder is not protected.

    Args:
        folder: The folder; it must exist.

    Raises:
        BlockingIOError: Another process holds the lock; the message names host and process.

    Warns:
        UserWarning: The file system has no locks.
    """

    def __init__(self, folder: Path):
        self._descriptor: int | None = _open(folder)
        try:
            if fcntl is None:
                raise OSError(errno.ENOLCK, "this system has no locks")
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.read(self._descriptor, 200).decode(errors="replace").strip() or "another process"
                self.release()
                raise BlockingIOError(
                    f"run folder {folder} is in use: {holder} is writing to it; wait until it has ended, stop it, or "
                    "choose another folder with --run_dir"
                ) from error
            warnings.warn(f"{folder} cannot be locked ({error.strerror}): do not start another run in it", stacklevel=2)
            return
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Let processes through one after the other, such as those that would download the same files into a folder.

    Where the folder cannot be written to, or its file system has no locks, they do not wait.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = _open(folder)
            stack.callback(os.close, descriptor)
            if fcntl is not None:
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
