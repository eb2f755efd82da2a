"""CIFAR-10 against plain `pickle` on files written here (and the real copy where there is one), and every bad file."""

from __future__ import annotations

import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import cifar10_files
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.images.cifar10_files import FOLDER, TEST_FILE, TRAIN_FILES

REAL = Path("data") / FOLDER


def batch(seed: int, number: int = 40) -> dict[Any, Any]:
    """What a batch file holds: rows of 1,024 red, then green, then blue values; labels as a list."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 10
    return {
        "batch_label": f"batch {seed}",
        "labels": rng.permutation(labels).tolist(),
        "data": rng.integers(0, 256, (number, 3072), dtype=np.uint8),
        "filenames": ["a.png"] * number,
    }


def write(path: Path, content: object, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir()
    for seed, name in enumerate((*TRAIN_FILES, TEST_FILE)):
        write(tmp_path / FOLDER / name, batch(seed))
    return tmp_path


def make(root: Path, **options) -> CIFAR10DataModule:
    return CIFAR10DataModule(str(root), **({"verify": False, "validation_size": 20, "download": False} | options))


def raw(folder: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The files by `pickle` alone."""
    parts = [pickle.loads((folder / name).read_bytes(), encoding="latin1") for name in names]
    data = np.concatenate([part["data"].reshape(-1, 3, 32, 32) for part in parts])
    return data, np.concatenate([np.array(part["labels"]) for part in parts])


def assert_same_examples(folder: Path, module: CIFAR10DataModule) -> None:
    module.prepare_data()
    module.setup("fit")
    images, labels = raw(folder, TRAIN_FILES)
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
    test_images, test_labels = raw(folder, (TEST_FILE,))
    assert np.array_equal(module.test_set.images.numpy(), test_images)
    assert np.array_equal(module.test_set.labels.numpy(), test_labels)


def test_examples_are_those_of_the_files(root: Path) -> None:
    assert_same_examples(root / FOLDER, make(root))


@pytest.mark.skipif(not (REAL / TEST_FILE).is_file(), reason="no CIFAR-10 in data/")
def test_examples_are_those_of_the_real_files() -> None:
    module = make(Path("data"), validation_size=5000)
    assert_same_examples(REAL, module)
    assert module.val_set is not None
    assert torch.bincount(module.val_set.labels).tolist() == [500] * 10
    assert torch.bincount(module.train_set.labels).tolist() == [4500] * 10


@pytest.mark.skipif(not (REAL / TEST_FILE).is_file(), reason="no CIFAR-10 in data/")
def test_mean_and_std_are_those_of_the_training_images() -> None:
    images, _ = raw(REAL, TRAIN_FILES)
    scaled = images[::7].astype(np.float64) / 255
    module = make(Path("data"))
    assert module.mean == pytest.approx(scaled.mean((0, 2, 3)), abs=0.01)
    assert module.std == pytest.approx(scaled.std((0, 2, 3)), abs=0.01)


def test_python_3_pickles_and_bytes_keys_are_read(root: Path) -> None:
    content = batch(9)
    keyed = {key.encode(): value for key, value in content.items()}
    for protocol in range(6):
        write(root / FOLDER / TEST_FILE, keyed, protocol)
        assert make(root).test_set.labels.tolist() == content["labels"]


def test_the_folder_itself_is_accepted_as_root(root: Path) -> None:
    assert len(make(root / FOLDER).train_set.images) == 180


@pytest.mark.parametrize(("size", "train"), [(20, 180), (33, 167), (0, 200)])
def test_validation_split_is_stratified_and_seeded(root: Path, size: int, train: int) -> None:
    modules = [
        make(root, validation_size=size, split_seed=seed, seed=other) for seed, other in ((0, 0), (0, 1), (1, 0))
    ]
    first, same, other = modules
    assert len(first.train_set.images) == train
    if size == 0:
        assert first.val_set is None and first.val_dataloader() == []
        return
    assert first.val_set is not None and same.val_set is not None and other.val_set is not None
    counts = torch.bincount(first.val_set.labels, minlength=10)
    assert counts.sum() == size and counts.max() - counts.min() <= (0 if size % 10 == 0 else 1)
    assert torch.equal(first.val_set.images, same.val_set.images)
    assert not torch.equal(first.val_set.images, other.val_set.images)


def test_other_test_images_replace_the_test_set(root: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "other.npz", images=images, labels=np.arange(7, dtype=np.uint8))
    module = make(tmp_path / "nowhere", test_file=str(tmp_path / "other.npz"))
    (found,) = module.test_dataloader()
    assert np.array_equal(found[0].numpy(), images) and found[1].tolist() == list(range(7))
    (predicted,) = module.predict_dataloader()
    assert predicted[2].tolist() == list(range(7)) and module.predict_names == [str(number) for number in range(7)]


class _Runs:
    """A pickle that creates a file when it is loaded by `pickle`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.path),)


def changed(**changes: object) -> dict[str, object]:
    return {key: value for key, value in (batch(3) | changes).items() if value is not None}


BAD = {
    "no dict": ([1, 2], r"holds a list"),
    "no data": (changed(data=None), r"has no field `data`"),
    "no labels": (changed(labels=None), r"has no field `labels`"),
    "narrow": (changed(data=np.zeros((40, 3071), np.uint8)), r"`data` is uint8 \[40, 3071\]"),
    "flat": (changed(data=np.zeros(3072, np.uint8)), r"`data` is uint8 \[3072\]"),
    "floats": (changed(data=np.zeros((40, 3072))), r"`data` is float64"),
    "a list": (changed(data=[[0] * 3072] * 40), r"`data` is a list"),
    "few labels": (changed(labels=[0] * 39), r"`labels` is int64 \[39\] where 40"),
    "float labels": (changed(labels=[0.5] * 40), r"`labels` is float64"),
    "ragged labels": (changed(labels=[[0], [1, 2]] * 20), r"`labels` is"),
    "label 10": (changed(labels=[10] * 40), r"from 10 to 10"),
    "label -1": (changed(labels=[-1] * 40), r"from -1 to -1"),
    "nothing": (changed(labels=[], data=np.zeros((0, 3072), np.uint8)), r"holds no images"),
}


@pytest.mark.parametrize("name", [TRAIN_FILES[3], TEST_FILE])
@pytest.mark.parametrize("case", BAD)
def test_files_of_the_wrong_form_are_named_before_training(root: Path, case: str, name: str) -> None:
    content, message = BAD[case]
    write(root / FOLDER / name, content, protocol=4)
    with pytest.raises(ValueError, match=f"{name}.*{message}|{name}: {message}") as raised:
        make(root).prepare_data()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [0, 1, 50, 60_000, -1])
def test_truncated_files_are_named(root: Path, length: int) -> None:
    path = root / FOLDER / TRAIN_FILES[1]
    path.write_bytes(path.read_bytes()[:length])
    for verify in (False, True):
        write_md5 = make(root, verify=verify)
        with pytest.raises(ValueError, match=rf"{TRAIN_FILES[1] if not verify else 'data_batch'}"):
            write_md5.prepare_data()
    with pytest.raises(ValueError, match=r"data_batch_2 is corrupt or truncated"):
        make(root).setup("fit")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(root: Path, tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    write(root / FOLDER / TEST_FILE, changed(labels=_Runs(marker)), protocol)
    with pytest.raises(ValueError, match=r"test_batch is refused: this pickle would run (posix|nt)\.mkdir"):
        make(root).prepare_data()
    assert not marker.exists()
    pickle.loads((root / FOLDER / TEST_FILE).read_bytes())
    assert marker.exists()  # the file was dangerous


def test_an_object_array_cannot_smuggle_code(root: Path, tmp_path: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = _Runs(tmp_path / "ran")
    write(root / FOLDER / TEST_FILE, changed(data=array))
    with pytest.raises(ValueError, match=r"test_batch is refused"):
        make(root).prepare_data()
    assert not (tmp_path / "ran").exists()


def test_another_copy_is_an_error_and_left_alone_unless_allowed(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / FOLDER).iterdir()}
    with pytest.raises(ValueError, match=r"data_batch_1 is not the original.*--data.verify false"):
        make(root, verify=True, download=True).prepare_data()
    make(root, verify=False, download=True).prepare_data()
    assert {path: path.read_bytes() for path in (root / FOLDER).iterdir()} == before


def test_sums_are_torchvisions() -> None:
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

    theirs = dict([*CIFAR10.train_list, *CIFAR10.test_list])
    theirs[CIFAR10.filename] = CIFAR10.tgz_md5
    assert theirs == cifar10_files.MD5
    assert CIFAR10.url == cifar10_files.URL and CIFAR10.base_folder == FOLDER


@pytest.mark.parametrize("name", [TRAIN_FILES[2], TEST_FILE])
def test_a_missing_file_is_named_and_not_downloaded_over(root: Path, name: str) -> None:
    (root / FOLDER / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing.*cifar-10-python.tar.gz.*--data.root"):
        make(root, download=True).prepare_data()


def test_without_data_or_download_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data_batch_1 is missing.*cifar-10-python.tar.gz.*--data.root"):
        make(tmp_path / "none").prepare_data()


def test_without_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10_files, "URL", "http://localhost:9/cifar-10-python.tar.gz")
    with pytest.raises(FileNotFoundError, match=r"download failed.*cifar-10-python.tar.gz.*--data.root") as raised:
        make(tmp_path / "new", download=True).prepare_data()
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"data.root .*file/new cannot be made or written to \(.*point --data.root"
    ) as raised:
        make(tmp_path / "file" / "new", download=True).prepare_data()
    assert "\n" not in str(raised.value)


def test_an_archive_that_lies_there_is_unpacked(root: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    with tarfile.open(new / cifar10_files.ARCHIVE, "w:gz") as tar:
        tar.add(root / FOLDER, FOLDER)
    with pytest.raises(ValueError, match=r"tar.gz is not the original"):
        make(new, download=True, verify=True).prepare_data()
    module = make(new, download=True)
    module.prepare_data()
    assert torch.equal(module.test_set.images, make(root).test_set.images)
    assert sorted(path.name for path in new.iterdir()) == [FOLDER, cifar10_files.ARCHIVE]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 3, 32, 32), np.uint8)}, "has no arrays"),
        (
            {"images": np.zeros((2, 32, 32, 3), np.uint8), "labels": np.zeros(2, int)},
            r"`images` is uint8 \[2, 32, 32, 3\]",
        ),
        ({"images": np.zeros((2, 3, 32, 32)), "labels": np.zeros(2, int)}, "`images` is float64"),
        ({"images": np.zeros((2, 3, 32, 32), np.uint8), "labels": np.zeros(3, int)}, r"`labels` is int64 \[3\]"),
        ({"images": np.zeros((2, 3, 32, 32), np.uint8), "labels": np.full(2, 12)}, "from 12 to 12"),
        ({"images": np.array([_Runs(Path("x")), 1], dtype=object), "labels": np.zeros(2, int)}, "cannot be read"),
    ],
)
def test_bad_test_files_are_named_before_training(root: Path, arrays: dict, message: str) -> None:
    np.savez(root / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=rf"bad.npz.*{message}"):
        make(root, test_file=str(root / "bad.npz")).prepare_data()


def test_test_files_that_are_no_archives_are_named(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.npz is missing"):
        make(root, test_file=str(root / "none.npz")).prepare_data()
    (root / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"text.npz cannot be read as .npz"):
        make(root, test_file=str(root / "text.npz")).prepare_data()


@pytest.mark.parametrize("size", [-1, 200])
def test_impossible_validation_sizes_are_named(root: Path, size: int) -> None:
    with pytest.raises(ValueError, match=rf"data.validation_size is {size}"):
        make(root, validation_size=size).setup("fit")


def test_predicting_a_folder_needs_no_data_set(tmp_path: Path) -> None:
    # test_file: as a checkpoint has it, on another machine
    module = make(tmp_path / "none", predict_path=str(tmp_path), test_file="nowhere.npz")
    module.trainer = SimpleNamespace(state=SimpleNamespace(fn="predict"))  # type: ignore[assignment]
    module.prepare_data()
    module.setup("predict")
