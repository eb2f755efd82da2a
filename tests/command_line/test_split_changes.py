"""An evaluation that holds out other examples than the training is warned of."""

import warnings
from typing import Any

import pytest

from command_line.split_changes import warn_of_other_split


def config(root: str = "photos", **fields: Any) -> dict[str, Any]:
    return {"data": {"class_path": "ImageFolderDataModule", "init_args": {"root": root, "split_seed": 0, **fields}}}


def test_other_held_out_examples_are_warned_of() -> None:
    words = r"held out than in training \(data.split_seed 1 instead of 0, data.test_fraction 0.2 instead of 0.1\)"
    with pytest.warns(UserWarning, match=words):
        warn_of_other_split(config(test_fraction=0.1), config(split_seed=1, test_fraction=0.2))
    task = {"class_path": "HFDataset", "init_args": {"split_seed": 3, "val_fraction": 0.1}}
    texts = {"data": {"class_path": "TextSeq2SeqDataModule", "init_args": {"task": task}}}
    other = {"data": {**texts["data"], "init_args": {"task": {**task, "init_args": {"split_seed": 4}}}}}
    with pytest.warns(UserWarning, match=r"\(data.task.split_seed 4 instead of 3\)"):
        warn_of_other_split(texts, other)


@pytest.mark.parametrize(
    "now",
    [
        config(),
        config(batch_size=3),
        config("other", split_seed=1),
        {"data": {"class_path": "CIFAR10DataModule", "init_args": {"split_seed": 1}}},
        {"data": None},
        {},
    ],
)
def test_the_same_split_and_other_data_are_not(now: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_split(config(), now)
