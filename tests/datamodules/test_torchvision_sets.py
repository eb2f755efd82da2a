"""Data sets of torchvision from small files in their formats, and what to do without them."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets

from datamodules.images.image_set import channel_statistics
from datamodules.torchvision_sets import (
    CIFAR100DataModule,
    FashionMNISTDataModule,
    MNISTDataModule,
    SVHNDataModule,
    TorchvisionDataModule,
)
from tests.datamodules.trainers import fake_trainer


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, *_: object, **__: object) -> None:
        raise OSError(f"no network for {url}")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **_: url)


def idx(values: np.ndarray) -> bytes:
    """Return the format of MNIST's files."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.mark.parametrize("module", [MNISTDataModule, FashionMNISTDataModule])
def test_grey_images_get_a_frame_and_three_channels(module: type[TorchvisionDataModule], tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (60, 28, 28), np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 10
    raw = tmp_path / module.folder
    raw.mkdir(parents=True)
    for name, part in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(images[part]))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels[part]))

    data = module(root=str(tmp_path), validation_size=10)
    data.prepare_data()
    data.setup("fit")
    test = data.test_set
    assert test.images.shape == (20, 3, 32, 32)
    for channel in range(3):
        assert np.array_equal(test.images[:, channel, 2:30, 2:30].numpy(), images[40:])
    assert test.images.sum() == 3 * images[40:].astype(np.int64).sum()  # the frame is black
    assert test.labels.tolist() == labels[40:].tolist()
    assert data.val_set is not None and len(data.val_set.images) == 10
    assert (data.mean, data.std) == channel_statistics(data.train_set.images)
    assert data.find_class_names() == module.names and len(module.names) == 10


def test_cifar100_is_read_if_it_is_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    folder = tmp_path / "cifar-100-python"
    files: dict[str, Any] = {}
    folder.mkdir()
    names = sorted(CIFAR100DataModule.names)
    for name, count in (("train", 30), ("test", 5)):
        files[name] = {"data": draw.integers(0, 256, (count, 3072), np.uint8), "fine_labels": list(range(count))}
    files["meta"] = {"fine_label_names": names}
    sums = {}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()

    data = CIFAR100DataModule(root=str(tmp_path), validation_size=0, download=False)
    with pytest.raises(
        FileNotFoundError, match=r"CIFAR-100 cannot be read from .* or downloaded .*corrupted.*kriz/cifar-100"
    ):
        data.prepare_data()  # a pickle that may be anything is not opened

    dataset = torchvision.datasets.CIFAR100
    monkeypatch.setattr(dataset, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(dataset, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": sums["meta"]})
    assert np.array_equal(data.train_set.images.numpy().reshape(30, -1), files["train"]["data"])
    assert data.test_set.labels.tolist() == [0, 1, 2, 3, 4]
    assert data.class_names == names and len(set(names)) == 100


def test_svhn_calls_ten_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (32, 32, 3, 12), np.uint8)
    labels = np.arange(1, 13).reshape(-1, 1) % 11
    labels[labels == 0] = 10
    (tmp_path / "svhn").mkdir()
    lists = {}
    for split in ("train", "test"):
        file = tmp_path / "svhn" / f"{split}_32x32.mat"
        scipy.io.savemat(file, {"X": images, "y": labels})
        lists[split] = ["http://somewhere", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", lists)
    test = SVHNDataModule(root=str(tmp_path)).test_set
    assert np.array_equal(test.images.numpy(), images.transpose(3, 2, 0, 1))
    assert test.labels.tolist() == [label % 10 for label in labels.flatten().tolist()]


@pytest.mark.parametrize(
    ("module", "address"),
    [
        (CIFAR100DataModule, "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz into ROOT,"),
        (MNISTDataModule, "t10k-labels-idx1-ubyte.gz into ROOT/MNIST/raw,"),
        (FashionMNISTDataModule, "t10k-labels-idx1-ubyte.gz into ROOT/FashionMNIST/raw,"),
        (SVHNDataModule, "test_32x32.mat into ROOT/svhn,"),
    ],
)
def test_without_a_network_one_line_says_which_file_to_put_where(
    module: type[TorchvisionDataModule], address: str, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot be read from .* or downloaded .*no network") as caught:
        module(root=str(tmp_path)).prepare_data()
    assert address.replace("ROOT", str(tmp_path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_put_there_by_hand_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, resources = tmp_path / "MNIST" / "raw", []
    raw.mkdir(parents=True)
    values = {"images-idx3": np.zeros((10, 28, 28), np.uint8), "labels-idx1": np.arange(10, dtype=np.uint8)}
    for split in ("train", "t10k"):
        for kind, content in values.items():
            file = raw / f"{split}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(idx(content)))
            resources.append((file.name, hashlib.md5(file.read_bytes()).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    data = MNISTDataModule(root=str(tmp_path), validation_size=0)
    data.prepare_data()
    assert torch.equal(data.train_set.labels, torch.arange(10))
    with pytest.raises(ValueError, match=r"data.validation_size must be below the number of training images, 10"):
        MNISTDataModule(root=str(tmp_path), validation_size=10).setup("fit")


def test_predicting_a_folder_needs_no_data_set(tmp_path: Path) -> None:
    module = MNISTDataModule(root=str(tmp_path / "none"), predict_path=str(tmp_path))
    module.trainer = fake_trainer(stage="predict")
    module.prepare_data()
    module.setup("predict")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("kept", "error"), [(0, ValueError), (100, FileNotFoundError)])
def test_a_file_that_ends_early_is_named(tmp_path: Path, kept: int, error: type[Exception]) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(np.zeros((10, 28, 28), np.uint8))[:kept])
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(10, dtype=np.uint8)))
    with pytest.raises(
        error, match=r"a file of MNIST in .*MNIST/raw is damaged \(|MNIST cannot be read from .*\(shape "
    ):
        MNISTDataModule(root=str(tmp_path)).prepare_data()
