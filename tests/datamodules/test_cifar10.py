"""CIFAR-10 as a datamodule, on files written here and on the real ones if they are in data/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.images.cifar10_files import FOLDER, TEST_FILE, TRAIN_FILES
from tests.datamodules.cifar10_copy import read_raw, write, write_copy
from tests.datamodules.trainers import fake_trainer

REAL = Path("data") / FOLDER
needs_cifar10 = pytest.mark.skipif(not (REAL / TEST_FILE).is_file(), reason="CIFAR-10 is not in data/")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_copy(tmp_path)
    return tmp_path


def make(root: Path, **options: Any) -> CIFAR10DataModule:
    return CIFAR10DataModule(str(root), **{"verify": False, "validation_size": 20, "download": False} | options)


def assert_same_examples(folder: Path, module: CIFAR10DataModule) -> None:
    module.prepare_data()
    module.setup("fit")
    images, labels = read_raw(folder, TRAIN_FILES)
    assert module.val_set is not None
    found = {}
    for part in (module.train_set, module.val_set):
        for image, label in zip(part.images[::7], part.labels[::7], strict=True):
            found[image.numpy().tobytes()] = int(label)
    expected = {image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    assert found.items() <= expected.items()
    assert len(module.train_set.images) + len(module.val_set.images) == len(labels)
    assert torch.equal(
        module.train_set.images.sum((0, 2, 3)) + module.val_set.images.sum((0, 2, 3)),
        torch.from_numpy(images.sum((0, 2, 3), dtype=np.int64)),
    )
    test_images, test_labels = read_raw(folder, (TEST_FILE,))
    assert np.array_equal(module.test_set.images.numpy(), test_images)
    assert np.array_equal(module.test_set.labels.numpy(), test_labels)


def test_examples_are_those_of_the_files(root: Path) -> None:
    assert_same_examples(root / FOLDER, make(root))


@needs_cifar10
def test_examples_are_those_of_the_real_files() -> None:
    module = make(Path("data"), validation_size=5000, verify=True)
    assert_same_examples(REAL, module)
    assert module.val_set is not None
    assert torch.bincount(module.val_set.labels).tolist() == [500] * 10
    assert torch.bincount(module.train_set.labels).tolist() == [4500] * 10


@needs_cifar10
def test_mean_and_standard_deviation_are_those_of_the_training_images() -> None:
    images, _ = read_raw(REAL, TRAIN_FILES)
    scaled = images[::7].astype(np.float64) / 255
    module = make(Path("data"))
    assert module.mean == pytest.approx(scaled.mean((0, 2, 3)), abs=0.01)
    assert module.std == pytest.approx(scaled.std((0, 2, 3)), abs=0.01)


def test_the_folder_of_the_files_is_accepted_as_root(root: Path) -> None:
    assert len(make(root / FOLDER).train_set.images) == 180


@pytest.mark.parametrize(("size", "train"), [(20, 180), (33, 167), (0, 200)])
def test_the_validation_split_is_stratified_and_depends_on_its_seed(root: Path, size: int, train: int) -> None:
    seeds = ((0, 0), (0, 1), (1, 0))
    first, same, other = (
        make(root, validation_size=size, split_seed=split_seed, seed=seed) for split_seed, seed in seeds
    )
    assert len(first.train_set.images) == train
    if size == 0:
        assert first.val_set is None
        assert first.val_dataloader() == []
        return
    assert first.val_set is not None
    assert same.val_set is not None
    assert other.val_set is not None
    counts = torch.bincount(first.val_set.labels, minlength=10)
    assert counts.sum() == size
    assert counts.max() - counts.min() <= (0 if size % 10 == 0 else 1)
    assert torch.equal(first.val_set.images, same.val_set.images)
    assert not torch.equal(first.val_set.images, other.val_set.images)


def test_a_test_file_replaces_the_test_set(root: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "other.npz", images=images, labels=np.arange(7, dtype=np.uint8))
    module = make(tmp_path / "nowhere", test_file=str(tmp_path / "other.npz"))
    for stage in ("test", "predict"):  # neither needs the data set
        module.trainer = fake_trainer(stage=stage)
        module.prepare_data()
    (found,) = module.test_dataloader()
    assert np.array_equal(found.images.numpy(), images)
    assert found.labels.tolist() == list(range(7))
    (predicted,) = module.predict_dataloader()
    assert predicted.index.tolist() == list(range(7))
    assert module.predict_names == [str(number) for number in range(7)]


@pytest.mark.parametrize("name", [TRAIN_FILES[3], TEST_FILE])
def test_a_bad_file_is_named_before_training(root: Path, name: str) -> None:
    write(root / FOLDER / name, [1, 2])
    with pytest.raises(ValueError, match=f"{name} holds a list"):
        make(root).prepare_data()
    (root / FOLDER / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{name} is corrupt or truncated"):
        make(root).prepare_data()


def test_bad_training_files_are_named_without_prepare_data_too(root: Path) -> None:
    (root / FOLDER / TRAIN_FILES[1]).write_bytes(b"")
    with pytest.raises(ValueError, match=r"data_batch_2 is corrupt or truncated"):
        make(root).setup("fit")


def test_a_bad_test_file_is_named_before_training(root: Path) -> None:
    np.savez(root / "bad.npz", images=np.zeros((2, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"bad.npz has no arrays"):
        make(root, test_file=str(root / "bad.npz")).prepare_data()


def test_another_copy_is_an_error_unless_allowed_and_is_never_changed(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / FOLDER).iterdir()}
    with pytest.raises(ValueError, match=r"data_batch_1 is not the original.*--data.verify false"):
        make(root, verify=True, download=True).prepare_data()
    make(root, verify=False, download=True).prepare_data()
    assert {path: path.read_bytes() for path in (root / FOLDER).iterdir()} == before


@pytest.mark.parametrize("name", [TRAIN_FILES[2], TEST_FILE])
def test_a_missing_file_is_named_and_nothing_is_downloaded_over_the_others(root: Path, name: str) -> None:
    (root / FOLDER / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing.*cifar-10-python.tar.gz.*--data.root"):
        make(root, download=True).prepare_data()


def test_without_data_or_download_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data_batch_1 is missing.*cifar-10-python.tar.gz.*--data.root"):
        make(tmp_path / "none").prepare_data()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, "data.validation_size must be an integer of at least 0, got -1"),
        (200, "data.validation_size must be below the number of training images, 200, got 200"),
    ],
)
def test_invalid_validation_sizes_are_named(root: Path, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(root, validation_size=size).setup("fit")


def test_predicting_a_folder_needs_no_data_set(tmp_path: Path) -> None:
    # A checkpoint may name a test_file of another machine.
    module = make(tmp_path / "none", predict_path=str(tmp_path), test_file="nowhere.npz")
    module.trainer = fake_trainer(stage="predict")
    module.prepare_data()
    module.setup("predict")
