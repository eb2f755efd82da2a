"""Atomic writes: a file is written under a temporary name beside its target, then renamed; it is whole or absent."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.file_names import ESCAPES

NO_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "it is too large"}
"""Why a file cannot be written although its folder can be written to."""

FORGOTTEN_AFTER = 24 * 3600.0
"""Age in seconds from which a temporary file is a leftover, whoever wrote it."""


@contextmanager
def atomic_path(path: str | os.PathLike[str], parents: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place once the block has ended well.

    A reader sees the old file or the new one, never half of one, and a block that raises leaves the old file. Several
    processes or threads may write the same file at once: each has its own temporary file, and the last to finish
    wins. What a killed process left behind is removed by the next one on the same machine, or after a day.

    The temporary name keeps the suffix, because libraries choose a format by it. Something that is not a regular file,
    such as /dev/null or a named pipe, is written through: replacing it would destroy it. A link is replaced: in
    somebody else's run folder it may lead to any file.

    Args:
        path: The file to write.
        parents: Whether to make missing parent folders; otherwise they are an error.

    Raises:
        IsADirectoryError: `path` is a folder.
        FileNotFoundError: The folder is missing and `parents` is off: somebody deleted or moved it.
        OSError: The file cannot be written; if there is no space, the message names the file and what to do.
    """
    target = Path(os.path.realpath(Path(path).parent), Path(path).name)
    if target.is_dir() and not target.is_symlink():
        raise IsADirectoryError(f"{path} is a folder: specify a file in it")
    if target.exists() and not target.is_file() and not target.is_symlink():
        yield target
        return
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    elif not target.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: its folder has been deleted or moved")
    temporary = temporary_beside(target)
    try:
        with naming_full_disk(path):
            yield temporary
            flush(temporary)  # the rename must not reach the disk before the content
            temporary.replace(target)
            flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place once the block has ended well.

    A block that raises, or a signal that does, leaves no new folder, and an earlier one unchanged.

    Args:
        path: The folder to write; missing parent folders are created.
        replace: Whether it may replace an earlier folder, which must not have files that the new one lacks; otherwise
            it may replace only an empty one.

    Raises:
        FileExistsError: There is a folder that it may not replace.
        OSError: The folder cannot be written; if there is no space, the message names it and what to do.
    """
    target = Path(os.path.realpath(Path(path).parent), Path(path).name)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, earlier = temporary_beside(target), temporary_beside(target)
    try:
        with naming_full_disk(path):
            temporary.mkdir()
            yield temporary
            _require_replaceable(target, temporary, replace)
            for written in (*temporary.rglob("*"), temporary):
                flush(written)
            if target.exists():
                target.rename(earlier)
            temporary.rename(target)
            flush(target.parent)
    finally:
        if earlier.exists() and not target.exists():  # interrupted between the two renames
            earlier.rename(target)
        _remove(temporary)
        _remove(earlier)


def _require_replaceable(target: Path, new: Path, replace: bool) -> None:
    present = {file.name for file in target.iterdir()} if target.exists() else set()
    if others := sorted(present - {file.name for file in new.iterdir()} if replace else present):
        raise FileExistsError(f"{target} has other files ({others[0]}), which are not replaced: choose another folder")


@contextmanager
def naming_full_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise OSErrors of the block that are about missing space with a message that names the file and what to do.

    An error that already has such a message, for another file, is left unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE and error.strerror == os.strerror(error.errno):
            raise OSError(error.errno, _no_space(path, error.errno)) from error
        raise


def temporary_beside(target: Path) -> Path:
    """Return an unused temporary name beside a file, and remove what killed processes left under such names."""
    _remove_leftovers(target)
    return _temporary(target, f"{os.getpid()}-{secrets.token_hex(4)}")


def require_checkpoint(path: Path) -> None:
    """Raise FileNotFoundError if there is no file where a checkpoint should be, and as `refuse_lfs_pointer`."""
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; pass --ckpt_path runs/NAME/checkpoints/best.ckpt")
    refuse_lfs_pointer(path)


def run_folder_of(checkpoint: Path) -> Path:
    """Return the run folder that a checkpoint is in; if it is in none, the folder that it is in."""
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else folder


LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_lfs_pointer(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a file is what a clone without git-lfs has in place of a large file."""
    with Path(path).open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(
                f"{path} is a pointer of git-lfs, not the file itself: run `git lfs pull` where you cloned it"
            )


def write_text(path: str | os.PathLike[str], text: str, parents: bool = True) -> None:
    """Write a whole UTF-8 file or none, line ends as they are in `text`; what UTF-8 cannot encode becomes escapes.

    Args:
        path: The file.
        text: Its content.
        parents: As for `atomic_path`.
    """
    with atomic_path(path, parents) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ESCAPES, newline="")


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    r"""Write lines (without line breaks of their own), each followed by "\n", as `write_text` does."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def remove_leftovers(folder: Path) -> None:
    """Remove all temporary files in a folder that no other process may be writing to."""
    for leftover in folder.glob("*.tmp*"):
        _remove(leftover)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_space(path: str | os.PathLike[str], number: int | None) -> str:
    reason = NO_SPACE.get(number or 0, "")
    return f"{path} cannot be written: {reason}; free some space, or write to another disk"


def _temporary(target: Path, writer: str) -> Path:
    return target.with_name(f".{target.stem}.{_machine()}-{writer}.tmp{target.suffix}")


def _machine() -> str:
    """Return a name for all processes whose ids this process can look up.

    Containers may share a host name, and have processes with the same ids.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of processes of this machine that no longer run, and those older than a day."""
    pattern = f".{glob.escape(target.stem)}.*-*-*.tmp{glob.escape(target.suffix)}"
    for leftover in target.parent.glob(pattern):
        machine, _, writer = leftover.name.removeprefix(f".{target.stem}.").partition("-")
        process = writer.partition("-")[0]
        ended = machine == _machine() and process.isdigit() and not _is_running(int(process))
        if ended or _age(leftover) > FORGOTTEN_AFTER:
            _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process
        return True
    return True
