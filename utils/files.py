"""Atomic writes: a file is written under a temporary name beside its place, then renamed: whole, or not there."""

from __future__ import annotations

import glob
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place once the block has ended well.

    A reader sees the old file or the new one, never half of one, and a block that raises leaves the old file. Several
    processes may write the same file at once: each has a temporary file of its own, and the last to finish wins. What
    a killed process left behind is removed by the next one on the same machine.

    The temporary name keeps the suffix, because libraries choose a format by it. A link is followed, and something that
    is no regular file, such as /dev/null or a named pipe, is written through: replacing it would destroy it.

    Args:
        path: The file to write; missing parent folders are made.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: The file cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file in it")
    if target.exists() and not target.is_file():
        yield target
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    temporary = _temporary(target, os.getpid())
    try:
        yield temporary
        _flush(temporary)  # the rename must not reach the disk before the content
        temporary.replace(target)
        _flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_lfs_pointer(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a file is what a clone without git-lfs has in place of a large file."""
    with Path(path).open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(
                f"{path} is a pointer of git-lfs, not the file itself: run `git lfs pull` where you cloned it"
            )


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole UTF-8 file or none, line ends as they are in `text`; "?" replaces what UTF-8 cannot encode."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace", newline="")


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    r"""Write lines (without line breaks of their own), each followed by "\n", as `write_text` does."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def _temporary(target: Path, process: int | str) -> Path:
    return target.with_name(f".{target.stem}.{socket.gethostname()}-{process}.tmp{target.suffix}")


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of processes of this machine that no longer run."""
    pattern = _temporary(Path(glob.escape(str(target))), "*")
    for leftover in target.parent.glob(pattern.name):
        process = leftover.name.removesuffix(f".tmp{target.suffix}").rpartition("-")[2]
        if process.isdigit() and not _is_running(int(process)):
            leftover.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process
        return True
    return True


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
