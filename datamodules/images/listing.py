"""Listing of the image files below a folder, and of what is skipped."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from datamodules.images.formats import ending_of, hint_for, is_image, readable_endings
from utils.file_names import readable

_SYSTEM_FOLDERS = {
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
}
_MAX_KINDS = 10  # of skipped files in one message


class Listing(NamedTuple):
    """The images below a folder.

    Attributes:
        paths: Image files, sorted.
        skipped: How many files and folders of each kind were skipped.
    """

    paths: list[Path]
    skipped: Counter[str]


def list_images(folder: Path, within: Path | None = None) -> Listing:
    """Return all image files below a folder.

    Files are images if their ending is one of `readable_endings` or, without an ending, if their content is an image.
    Hidden files and folders, and those that operating systems add, are skipped.

    Links are followed, each target once. A link into `within` or to a folder around it is skipped: its target is
    already in the data, and the link may be a loop.

    Args:
        folder: The folder.
        within: The folder of the whole data set, around `folder`; if None, `folder` itself.

    Raises:
        FileNotFoundError: The folder does not exist.
        OSError: It cannot be listed.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{readable(folder)} is not a folder: check the path")
    walk = _Walk(Path(os.path.realpath(within or folder)))
    walk.visit(folder)
    return Listing(sorted(walk.paths), walk.skipped)


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that an operating system adds."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def sorted_entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name.

    Raises:
        OSError: The folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise OSError(f"{readable(folder)} cannot be listed ({error.strerror}): check its permissions") from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a broken link is not one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def describe_skipped(skipped: Counter[str]) -> str:
    """Return what was skipped as text, most frequent first, such as `12 .heic (...), 3 .txt`; empty for nothing."""
    kinds = sorted(skipped.items(), key=lambda item: (not hint_for(item[0]), -item[1], item[0]))
    parts = [f"{count:,} {kind}" + (f" ({hint_for(kind)})" if hint_for(kind) else "") for kind, count in kinds]
    others = sum(count for _, count in kinds[_MAX_KINDS:])
    return ", ".join(parts[:_MAX_KINDS] + ([f"{others:,} others"] if others else []))


class _Walk:
    """A walk through a folder and the targets of its links."""

    def __init__(self, within: Path) -> None:
        self.within = within
        self.paths: list[Path] = []
        self.skipped: Counter[str] = Counter()
        self._folders: set[tuple[int, int]] = set()  # visited
        self._targets: set[str] = set()  # of links to files

    def visit(self, folder: Path) -> None:
        """Collect all image files below a folder."""
        pending = [os.fspath(folder)]
        while pending:
            current = pending.pop()
            state = os.stat(current)  # noqa: PTH116
            if (state.st_dev, state.st_ino) in self._folders:
                self.skipped["repeated links"] += 1
                continue
            self._folders.add((state.st_dev, state.st_ino))
            for entry in sorted_entries(current):
                if is_folder(entry):
                    if self._takes_folder(entry):
                        pending.append(entry.path)
                elif self._takes_file(entry):
                    self.paths.append(Path(entry.path))

    def _takes_folder(self, entry: os.DirEntry[str]) -> bool:
        if is_system_name(entry.name):
            return self._skip(f"{readable(entry.name)}/")
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if self._is_listed(target) or self.within.is_relative_to(target):
                return self._skip("links to folders of the data set itself")
        return True

    def _takes_file(self, entry: os.DirEntry[str]) -> bool:
        ending = ending_of(entry.name)
        if is_system_name(entry.name):
            return self._skip("hidden")
        if ending and ending not in readable_endings():
            return self._skip(readable(ending))
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target in self._targets or (ending_of(target) in readable_endings() and self._is_listed(Path(target))):
                return self._skip("links to files that are already read")
            self._targets.add(target)
        if not _is_regular(entry):
            return self._skip("pipes, sockets or devices")
        return bool(ending) or is_image(entry.path) or self._skip("without an extension")

    def _is_listed(self, target: Path) -> bool:
        """Return whether the target of a link is a place in the data set that is read without the link."""
        if not target.exists() or not target.is_relative_to(self.within):
            return False
        return not any(map(is_system_name, target.relative_to(self.within).parts))

    def _skip(self, kind: str) -> bool:
        self.skipped[kind] += 1
        return False


def _is_regular(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file, or a broken link, which is reported where it is read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:  # a link to itself
        return True
