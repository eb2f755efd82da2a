"""Splits of a data set in a local folder or a Parquet file, read by the library `datasets`, which is an extra.

A name on the Hugging Face Hub is refused: data are downloaded by hand. Rows stay in the Arrow files of `datasets`, in
its cache (HF_DATASETS_CACHE) unless the data set was saved in that form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from datamodules.images.image_set import SplitPurpose, split_off, stratified_split
from utils.file_names import readable

if TYPE_CHECKING:
    from datasets import Dataset

Split = Literal["train", "val", "test"]

_USUAL = {"train": ("train",), "val": ("validation", "valid", "val", "dev"), "test": ("test",)}
_PURPOSES: dict[Split, SplitPurpose] = {"val": "validation_split", "test": "test_split"}
_SAVED = ("dataset_dict.json", "state.json")  # one of them is in a folder that `save_to_disk` wrote


class Rows(NamedTuple):
    """The rows of a split.

    Attributes:
        table: The rows.
        source: Where they come from, as text.
    """

    table: Dataset
    source: str


def open_splits(path: str, argument: str) -> dict[str, Dataset]:
    """Return the splits of a data set by name; a data set without splits is `train`.

    Args:
        path: A folder that `save_to_disk` wrote, a Parquet file, or a folder of Parquet, CSV or JSON files or of
            images, in which `datasets` finds the splits by the names of files and folders.
        argument: The argument that the user set to `path`, for errors.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: `datasets` is not installed, or cannot read what is there.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{argument} {readable(place)} does not exist: set it to a folder or a Parquet file")
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"{argument} needs the library datasets: pip install 'one-for-all[datasets]'") from error
    datasets.disable_progress_bars()
    try:
        if any((place / name).is_file() for name in _SAVED):
            found = datasets.load_from_disk(str(place))
        elif place.is_file():
            found = datasets.load_dataset("parquet", data_files=str(place.resolve()))
        else:
            found = datasets.load_dataset(str(place.resolve()))
    except Exception as error:  # each format's reader raises its own exceptions
        lines = str(error.__cause__ or error).splitlines() or [""]
        raise ValueError(
            f"{argument} {readable(place)} cannot be read by datasets ({type(error).__name__}: {lines[0]}): it must be "
            "a Parquet file, or a folder of Parquet, CSV or JSON files, of images, or written by save_to_disk"
        ) from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def divide(
    splits: Mapping[str, Dataset],
    path: str,
    names: Mapping[Split, str | None],
    fractions: Mapping[Split, float],
    seed: int,
    labels: Callable[[Dataset], Tensor] = lambda table: torch.zeros(len(table), dtype=torch.int64),
) -> dict[Split, Rows]:
    """Return the rows for training, validation and test, or for those of the three that exist.

    Args:
        splits: The splits of the data set.
        path: Where it is, for errors and reports.
        names: The name of each split; None for one of the usual names, unless it is that of another split. A missing
            validation or test split is split off the training rows.
        fractions: Share of the training rows held out for `val` and `test`.
        seed: The same seed holds out the same rows.
        labels: Returns the labels of rows, int64 [N]: each class is held out in proportion to its size.

    Raises:
        ValueError: There is no split of a given name.
    """
    found: dict[Split, Rows] = {}
    taken = {name for name in names.values() if name is not None}
    for split, name in names.items():
        if name is not None and name not in splits:
            raise ValueError(f"{path} has no {split} split {name!r}; its splits are {', '.join(map(repr, splits))}")
        known = (
            [name] if name is not None else [usual for usual in _USUAL[split] if usual in splits and usual not in taken]
        )
        if known:
            found[split] = Rows(splits[known[0]], f"{path} ({known[0]})")
    for split in ("test", "val"):
        if "train" not in found or split in found:
            continue
        table, source = found["train"]
        size = round(fractions[split] * len(table))
        if size:
            kept, held_out = stratified_split(labels(table), size, seed=seed, purpose=_PURPOSES[split])
            found["train"] = Rows(table.select(kept.tolist()), source)
            found[split] = Rows(table.select(held_out.tolist()), split_off(source))
    return found


def require(found: Mapping[Split, Rows], split: Split, path: str, argument: str) -> Rows:
    """Return the rows of a split.

    Raises:
        ValueError: There are none; the message names the argument to set.
    """
    if split not in found:
        fix = "" if split == "train" else f", or {argument.replace('_split', '_fraction')} to the fraction to split off"
        raise ValueError(f"{path} has no {split} split: set {argument} to its name{fix}")
    return found[split]
