"""The layout of a folder of images: which of its folders are splits, and which are classes."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from datamodules.images.formats import ending_of, readable_endings
from datamodules.images.listing import is_folder, is_system_name, sorted_entries
from utils.file_names import one_form, readable

SPELLINGS = {
    "train": ("train", "training", "trn"),
    "val": (
        "val",
        "valid",
        "validation",
        "validate",
        "validating",
        "dev",
        "devel",
        "development",
        "eval",
        "evaluation",
    ),
    "test": ("test", "testing", "tst"),
}
"""Names of the folders of each split; case, and numbers and words such as `set` around them, are ignored."""

_AROUND = "(?:set|data|dataset|images?|imgs?|split|folder)"
_BETWEEN = r"[\W\d_]*"
_SPLITS = {
    split: re.compile(rf"{_BETWEEN}(?:{_AROUND}{_BETWEEN})*(?:{'|'.join(names)})(?:{_BETWEEN}{_AROUND})*{_BETWEEN}")
    for split, names in SPELLINGS.items()
}


class Split(NamedTuple):
    """The folder of a split.

    Attributes:
        folder: The folder.
        classes: Folders of each class, by the name of the class (see `one_form`), sorted.
    """

    folder: Path
    classes: dict[str, list[Path]]


class Layout(NamedTuple):
    """What a folder of images holds.

    Attributes:
        splits: Splits with class folders, by their names: `train`, `val`, `test`.
        notes: What is skipped and why, one sentence each.
    """

    splits: dict[str, Split]
    notes: list[str]


def split_of(name: str) -> str | None:
    """Return the split that a folder of this name holds, `train`, `val` or `test`; None if it is not a usual name."""
    folded = name.casefold()
    return next((split for split, pattern in _SPLITS.items() if pattern.fullmatch(folded)), None)


def read_layout(root: Path) -> Layout:
    """Return the splits and classes of a folder.

    The folder holds either a folder of class folders for the training split, and perhaps for the other splits, or the
    class folders of the training split, and perhaps folders of the other splits. A folder named like a split is never a
    class, except within a split. A split without class folders has no labels and is skipped, as is a test folder
    without any class of the training split.

    Raises:
        OSError: A folder cannot be listed.
        ValueError: Two folders are the same split, or the training folder has no class folders.
    """
    notes: list[str] = []
    named, others = _folders(root, notes)
    splits = {split: _read_split(folder, notes) for split, folder in named.items()}
    if "train" in splits and not splits["train"].classes:
        raise ValueError(
            f"{readable(splits['train'].folder)} is named like the training split but has no class folders: put "
            "images into <class>/ folders in it, or rename it if it is a class"
        )
    if "train" in splits:
        _check_only_class(splits["train"].folder, splits["train"].classes)
    if "train" in splits and others:
        notes.append(f"{_shown(others)} beside {readable(splits['train'].folder)} are skipped: they are not splits")
    elif others:
        _check_wrapper(root, others)
        splits["train"] = Split(root, _by_class(others))
        _check_only_class(root, splits["train"].classes)
        _note_loose_images(root, notes)
    return Layout(_labelled(splits, notes), notes)


def _folders(root: Path, notes: list[str]) -> tuple[dict[str, Path], list[Path]]:
    """Return the folders in `root`: those of splits by the split, and all others."""
    named: dict[str, Path] = {}
    others = []
    for folder in _subfolders(root, notes):
        split = split_of(folder.name)
        if split is None:
            others.append(folder)
        elif split in named:
            raise ValueError(
                f"{readable(named[split])} and {readable(folder)} are both named like the {split} split: merge them "
                "or rename one of them"
            )
        else:
            named[split] = folder
    return named, others


def _read_split(folder: Path, notes: list[str]) -> Split:
    classes = _by_class(_subfolders(folder, notes))
    if classes:
        _note_loose_images(folder, notes)
    return Split(folder, classes)


def _labelled(splits: dict[str, Split], notes: list[str]) -> dict[str, Split]:
    """Return the splits without those that have no labels."""
    known = splits["train"].classes if "train" in splits else None
    labelled = {}
    for name, split in splits.items():
        if split.classes and (name != "test" or known is None or known.keys() & split.classes.keys()):
            labelled[name] = split
            continue
        where = readable(split.folder)
        why = "none of its folders is a class of the training split" if split.classes else "it has no class folders"
        notes.append(f"{where} is skipped: {why} (`predict --data.predict_path {shlex.quote(where)}` reads it)")
    return labelled


def _check_wrapper(root: Path, folders: list[Path]) -> None:
    """Raise ValueError if the only folder in `root` is a data set itself, or if every folder has splits of its own."""
    inner = [folder for folder in folders if any(split_of(each.name) == "train" for each in _subfolders(folder, []))]
    if len(inner) == len(folders) > 1:
        name = readable(inner[0].name)
        raise ValueError(
            f"data.root {readable(root)} has splits within its class folders, such as {name}/train, which would be "
            f"mixed: put the splits around the classes, as in train/{name}"
        )
    if inner and len(folders) == 1:
        raise ValueError(
            f"data.root {readable(root)} has no class folders, but {readable(inner[0])} has splits: pass --data.root "
            f"{shlex.quote(readable(inner[0]))}"
        )


def _check_only_class(folder: Path, classes: dict[str, list[Path]]) -> None:
    """Raise ValueError if the only class folder holds nothing but folders: these are the classes."""
    (only, *more), *others = classes.values()
    if others or more:
        return
    inner = _subfolders(only, [])
    if len(inner) > 1 and not any(not is_folder(entry) and _is_image(entry.name) for entry in sorted_entries(only)):
        raise ValueError(
            f"{readable(folder)} has one class folder, {readable(only.name)}, which itself holds the folders "
            f"{_shown(inner)}: if these are the classes, move them into {readable(folder)}, or pass a folder that they "
            "are in directly as --data.root"
        )


def _is_image(name: str) -> bool:
    return not is_system_name(name) and ending_of(name) in readable_endings()


def _subfolders(folder: Path, notes: list[str]) -> list[Path]:
    """Return the folders in `folder`, without hidden ones and those that operating systems add."""
    folders = [entry for entry in sorted_entries(folder) if is_folder(entry)]
    around = Path(os.path.realpath(folder))
    loops = [entry for entry in folders if entry.is_symlink() and around.is_relative_to(os.path.realpath(entry.path))]
    if loops:
        notes.append(f"{', '.join(readable(entry.path) for entry in loops)} skipped: links to a parent folder")
        folders = [entry for entry in folders if entry not in loops]
    skipped = [entry.name for entry in folders if is_system_name(entry.name)]
    if skipped:
        notes.append(f"skipped in {readable(folder)}: {', '.join(f'{readable(name)}/' for name in skipped)}")
    return [Path(entry.path) for entry in folders if not is_system_name(entry.name)]


def _by_class(folders: list[Path]) -> dict[str, list[Path]]:
    classes: dict[str, list[Path]] = {}
    for folder in folders:
        classes.setdefault(one_form(folder.name), []).append(folder)
    return dict(sorted(classes.items()))


def _note_loose_images(folder: Path, notes: list[str]) -> None:
    number = sum(_is_image(entry.name) for entry in sorted_entries(folder) if not is_folder(entry))
    if number:
        notes.append(f"{number:,} images in {readable(folder)} are skipped: they are outside the class folders")


def _shown(folders: list[Path]) -> str:
    names = [f"{readable(os.fspath(folder.name))}/" for folder in folders]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
