"""The layout of a folder of images: usual names of splits, classes, and what is skipped."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from datamodules.images.layout import read_layout, split_of


def write_images(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train", "Train", "TRAIN", "training", "training_set", "trainset", "train-images", "01_train"]),
        ("val", ["val", "valid", "Validation", "dev", "eval", "valid set", "val_images", "images_val"]),
        ("test", ["test", "Test", "testing", "test_set", "test-data", "test1"]),
        (None, ["trains", "cat", "evaluator", "tested", "latest", "set", "device", "value", "strain", "test_tube"]),
    ],
)
def test_usual_names_of_splits(split: str | None, names: list[str]) -> None:
    assert [split_of(name) for name in names] == [split] * len(names)


def test_splits_are_found_by_any_usual_name(tmp_path: Path) -> None:
    write_images(tmp_path, "Training/a/0.png", "Training/b/0.png", "valid/a/0.png", "TEST/b/0.png", "__MACOSX/a/0.png")
    write_images(tmp_path, "Training/stray.png", "extra/a/0.png")
    splits, notes = read_layout(tmp_path)
    assert {name: (split.folder.name, list(split.classes)) for name, split in splits.items()} == {
        "train": ("Training", ["a", "b"]),
        "val": ("valid", ["a"]),
        "test": ("TEST", ["b"]),
    }
    said = "\n".join(notes)
    assert "extra/ beside" in said
    assert "__MACOSX/" in said
    assert "1 images in " in said
    assert len(notes) == 3


def test_within_a_split_any_name_is_a_class(tmp_path: Path) -> None:
    write_images(tmp_path, "train/car/0.png", "train/train/0.png", "train/test/0.png")
    splits, _ = read_layout(tmp_path)
    assert list(splits) == ["train"]
    assert list(splits["train"].classes) == ["car", "test", "train"]


@pytest.mark.parametrize("names", [["test/1.png"], ["test/images/1.png"]])
@pytest.mark.parametrize("training", ["", "train/"])
def test_a_test_folder_without_labels_is_skipped(tmp_path: Path, names: list[str], training: str) -> None:
    write_images(tmp_path, f"{training}a/0.png", f"{training}b/0.png", *names)
    splits, (note,) = read_layout(tmp_path)
    assert list(splits) == ["train"]
    assert list(splits["train"].classes) == ["a", "b"]
    assert "test is skipped" in note
    assert "--data.predict_path" in note


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["valid/a/0.png", "dev/a/0.png"], "dev and .*valid are both named like the val split"),
        (["train/0.png", "car/0.png"], "train is named like the training split but has no class folders"),
        (["a/train/0.png", "a/test/1.png", "b/train/0.png"], "has splits within its class folders.*as in train/a$"),
        (["PetImages/Cat/0.png", "PetImages/Dog/0.png"], "has one class folder, PetImages, which .* Cat/, Dog/: if"),
        (["train/images/a/0.png", "train/images/b/0.png"], "train has one class folder, images, .*the folders a/, b/"),
        (["photos/train/a/0.png"], "has no class folders, but .*photos has splits: pass --data.root .*photos$"),
    ],
)
def test_layouts_that_cannot_be_told_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    write_images(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        read_layout(tmp_path)


def test_class_names_are_compared_in_one_form_and_folders_stay_as_they_are(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write_images(tmp_path, f"train/{decomposed}/0.png", f"val/{composed}/0.png")
    splits, _ = read_layout(tmp_path)
    assert splits["train"].classes == {composed: [tmp_path / "train" / decomposed]}
    assert splits["val"].classes == {composed: [tmp_path / "val" / composed]}


def test_class_names_that_are_no_utf_8_become_text(tmp_path: Path) -> None:
    try:
        os.makedirs(os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH103
    except OSError:
        pytest.skip("this file system holds UTF-8 alone")
    (name,) = read_layout(tmp_path)[0]["train"].classes
    assert name == r"caf\xe9"


def test_links_to_a_folder_around_them_are_no_classes(tmp_path: Path) -> None:
    write_images(tmp_path, "train/a/0.png")
    (tmp_path / "train/loop").symlink_to(tmp_path / "train")
    (tmp_path / "train/up").symlink_to(tmp_path)
    splits, (note,) = read_layout(tmp_path)
    assert list(splits["train"].classes) == ["a"]
    assert "loop" in note
