"""Images that `datasets` reads, from each form of files, against the pixels that were written."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import hf_images
from datamodules.hf_images import HFDatasetDataModule
from datamodules.image_folder import ImageFolderDataModule
from datamodules.images.image_set import channel_statistics
from datamodules.images.normalization import IMAGENET

NAMES = ["cat", "dog", "horse"]
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = [number % 3 for number in range(40)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The library, with its cache in a folder of the test."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    return library


def table(hf: Any, first: int = 0, last: int = 40, **changes: Any) -> Any:
    """Return rows as they are on the Hub, with the types of their columns."""
    rows = {"image": [{"bytes": png(each), "path": None} for each in PIXELS[first:last]], "label": LABELS[first:last]}
    types = {"image": hf.Image(), "label": hf.ClassLabel(names=NAMES)}
    return hf.Dataset.from_dict(rows, hf.Features(types)) if not changes else hf.Dataset.from_dict(rows | changes)


def same(images: torch.Tensor, pixels: np.ndarray) -> bool:
    return np.array_equal(images.permute(0, 2, 3, 1).numpy(), pixels)


def test_a_folder_of_parquet_has_its_splits_and_class_names(hf: Any, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, bounds in (("train-00000-of-00001", (0, 30)), ("validation", (30, 34)), ("test", (34, 40))):
        table(hf, *bounds).to_parquet(str(folder / f"{name}.parquet"))
    data = HFDatasetDataModule(str(folder), image_size=8, normalization="imagenet")
    assert data.find_class_names() == NAMES
    data.prepare_data()
    data.setup("fit")
    assert data.val_set is not None
    for found, bounds in ((data.train_set, (0, 30)), (data.val_set, (30, 34)), (data.test_set, (34, 40))):
        assert same(found.images, PIXELS[slice(*bounds)])
        assert found.labels.tolist() == LABELS[slice(*bounds)]
    assert data.class_names == NAMES
    assert (data.mean, data.std) == IMAGENET
    assert "(train), 30 images of 3 classes" in data.split_lines()[0]
    assert data.test_source().examples == 6


def test_one_file_is_divided_and_plain_labels_are_classes(hf: Any, tmp_path: Path) -> None:
    plain = table(hf, label=[NAMES[label] for label in LABELS], note=["x"] * 40)  # neither column has a type
    plain.to_parquet(str(tmp_path / "all.parquet"))
    options: dict[str, Any] = {"image_column": "image", "image_size": 8, "test_fraction": 0.3}
    data, again, other = (
        HFDatasetDataModule(str(tmp_path / "all.parquet"), split_seed=seed, **options) for seed in (0, 0, 1)
    )
    assert data.find_class_names() == NAMES
    train, val = data.load_training()
    test = data.load_test()
    assert val is not None
    assert [len(each.images) for each in (train, val, test)] == [25, 3, 12]
    assert test.labels.bincount().tolist() == [4, 4, 4]  # in proportion
    together = torch.cat([train.images, val.images, test.images]).flatten(1)
    assert torch.equal(together.unique(dim=0), torch.from_numpy(PIXELS).permute(0, 3, 1, 2).flatten(1).unique(dim=0))
    for part in (train, val, test):  # each image has kept its label
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            (row,) = np.flatnonzero([same(image[None], each[None]) for each in PIXELS])
            assert LABELS[row] == label
    assert torch.equal(again.load_test().images, test.images)
    assert not torch.equal(other.load_test().images, test.images)
    assert (data.mean, data.std) == channel_statistics(train.images)
    none = HFDatasetDataModule(str(tmp_path / "all.parquet"), validation_fraction=0.0, **options)
    assert none.load_training()[1] is None


def test_a_saved_set_has_the_splits_that_are_named(hf: Any, tmp_path: Path) -> None:
    parts = {"first": table(hf, 0, 20), "second": table(hf, 20, 30), "third": table(hf, 30, 40)}
    hf.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    data = HFDatasetDataModule(
        str(tmp_path / "saved"), None, None, "first", validation_split="second", test_split="third", image_size=8
    )
    assert data.val_set is not None
    assert same(data.train_set.images, PIXELS[:20])
    assert same(data.val_set.images, PIXELS[20:30])
    assert same(data.test_set.images, PIXELS[30:])


def test_a_split_that_is_named_for_one_purpose_is_taken_for_no_other(hf: Any, tmp_path: Path) -> None:
    hf.DatasetDict({"train": table(hf, 0, 30), "validation": table(hf, 30, 40)}).save_to_disk(str(tmp_path / "saved"))
    data = HFDatasetDataModule(str(tmp_path / "saved"), None, None, test_split="validation", image_size=8)
    assert same(data.test_set.images, PIXELS[30:])
    assert data.val_set is not None
    assert len(data.val_set.images) == 3 and len(data.train_set.images) == 27


def test_a_folder_of_images_gives_what_image_folder_gives(hf: Any, tmp_path: Path) -> None:
    for number, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        folder = tmp_path / "photos" / "train" / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((30, 20)).save(folder / f"{number:02}.png")
    options: dict[str, Any] = {"image_size": 16, "test_fraction": 0.0, "validation_fraction": 0.0}
    ours = HFDatasetDataModule(str(tmp_path / "photos"), **options).train_set
    theirs = ImageFolderDataModule(str(tmp_path / "photos"), cache_dir=None, **options).train_set
    assert sorted(ours.labels.tolist()) == sorted(theirs.labels.tolist())

    def rows(images: torch.Tensor, labels: torch.Tensor) -> list[bytes]:
        return sorted(
            each.numpy().tobytes() + bytes([label]) for each, label in zip(images, labels.tolist(), strict=True)
        )

    assert rows(ours.images, ours.labels) == rows(theirs.images, theirs.labels)


def test_mistakes_name_the_field_and_the_fix(hf: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "all.parquet")
    table(hf).to_parquet(file)
    with pytest.raises(FileNotFoundError, match=r"data.root .*nowhere does not exist: set it to a folder"):
        HFDatasetDataModule(str(tmp_path / "nowhere")).find_class_names()
    (tmp_path / "texts.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match=r"data.root .*texts.parquet cannot be read by datasets \(.*must be a Parquet"):
        HFDatasetDataModule(str(tmp_path / "texts.parquet")).find_class_names()
    with pytest.raises(ValueError, match=r"has no test split 'unseen'; its splits are 'train'"):
        HFDatasetDataModule(file, test_split="unseen").load_test()
    with pytest.raises(ValueError, match=r"no test split: set data.test_split to its name, or data.test_fraction to"):
        HFDatasetDataModule(file, test_fraction=0.0).load_test()
    with pytest.raises(ValueError, match=r"label_column: .* has no column 'labels'; its columns are 'image', 'label'"):
        HFDatasetDataModule(file, label_column="labels").find_class_names()
    table(hf, 0, 40, label=[0.5] * 40, note=["x"] * 40).to_parquet(str(tmp_path / "plain.parquet"))
    with pytest.raises(ValueError, match=r"data.image_column is missing: set it to one of .*'image', 'label', 'note'"):
        HFDatasetDataModule(str(tmp_path / "plain.parquet")).load_training()


def test_a_column_of_another_type_is_named(hf: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "lists.parquet")
    table(hf, 0, 40, label=[[0, 1]] * 40, number=[1.5] * 40).to_parquet(file)
    with pytest.raises(
        ValueError, match=r"data.label_column: column 'label' of .*lists.parquet contains .*: choose a col"
    ):
        HFDatasetDataModule(file, image_column="image").find_class_names()
    options: dict[str, Any] = {"label_column": "number", "validation_fraction": 0.0, "test_fraction": 0.0}
    with pytest.raises(
        ValueError, match=r"data.image_column: column 'number' of .*lists.parquet contains .*: choose a col"
    ):
        HFDatasetDataModule(file, image_column="number", **options).load_training()


def test_a_row_without_a_label_or_an_image_is_named(hf: Any, tmp_path: Path) -> None:
    types = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=NAMES)})
    broken = {"image": [{"bytes": png(PIXELS[0]), "path": None}, {"bytes": b"no image", "path": None}], "label": [0, 1]}
    hf.Dataset.from_dict(broken, types).to_parquet(str(tmp_path / "broken.parquet"))
    options: dict[str, Any] = {"validation_fraction": 0.0, "test_fraction": 0.0}
    with pytest.raises(
        ValueError, match=r"the image of row 1 of .*broken.parquet \(train\) cannot be read as an image"
    ):
        HFDatasetDataModule(str(tmp_path / "broken.parquet"), **options).load_training()
    hf.Dataset.from_dict(broken | {"label": [0, -1]}, types).to_parquet(str(tmp_path / "hidden.parquet"))
    with pytest.raises(ValueError, match=r"row 1: column 'label' is -1, which is not a class"):
        HFDatasetDataModule(str(tmp_path / "hidden.parquet"), **options).load_training()


def test_images_decoded_some_at_a_time_are_in_their_rows(
    hf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_images, "_AT_ONCE", 7)  # of 40
    options: dict[str, Any] = {"image_size": 8, "validation_fraction": 0.0, "test_fraction": 0.0}
    table(hf).to_parquet(str(tmp_path / "all.parquet"))
    train, _ = HFDatasetDataModule(str(tmp_path / "all.parquet"), **options).load_training()
    assert same(train.images, PIXELS)
    rows = [{"bytes": b"no image" if row == 25 else png(each), "path": None} for row, each in enumerate(PIXELS)]
    types = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=NAMES)})
    hf.Dataset.from_dict({"image": rows, "label": LABELS}, types).to_parquet(str(tmp_path / "broken.parquet"))
    with pytest.raises(ValueError, match=r"the image of row 25 of .*broken.parquet \(train\) cannot be read"):
        HFDatasetDataModule(str(tmp_path / "broken.parquet"), **options).load_training()


def test_without_the_library_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ValueError, match=r"^data.root needs the library datasets: pip install 'one-for-all\[datasets\]'$"
    ):
        HFDatasetDataModule(str(tmp_path)).find_class_names()
