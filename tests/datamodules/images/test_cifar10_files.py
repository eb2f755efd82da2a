"""The files of CIFAR-10: read as `pickle` reads them, and every way in which one can be bad."""

from __future__ import annotations

import pickle
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from datamodules.images import cifar10_files
from datamodules.images.cifar10_files import (
    FOLDER,
    TEST_FILE,
    TRAIN_FILES,
    check_md5,
    fetch_archive,
    read_batch,
    read_npz,
)
from tests.datamodules.cifar10_copy import MakesFolder, batch, write, write_copy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_copy(tmp_path)
    return tmp_path


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_and_keys_of_bytes_are_read(tmp_path: Path, protocol: int) -> None:
    content = batch(9)
    for keys in (lambda key: key, str.encode):
        write(tmp_path / TEST_FILE, {keys(key): value for key, value in content.items()}, protocol)
        images, labels = read_batch(tmp_path / TEST_FILE)
        assert labels.tolist() == content["labels"]
        assert np.array_equal(images.numpy(), content["data"].reshape(-1, 3, 32, 32))


def changed(**changes: object) -> dict[str, object]:
    return {key: value for key, value in (batch(3) | changes).items() if value is not None}


BAD = {
    "not a dict": ([1, 2], r"holds a list"),
    "no data": (changed(data=None), r"has no field `data`"),
    "no labels": (changed(labels=None), r"has no field `labels`"),
    "narrow": (changed(data=np.zeros((40, 3071), np.uint8)), r"`data` must be .*, got uint8 \[40, 3071\]"),
    "flat": (changed(data=np.zeros(3072, np.uint8)), r"`data` must be .*, got uint8 \[3072\]"),
    "floats": (changed(data=np.zeros((40, 3072))), r"`data` must be .*, got float64"),
    "a list": (changed(data=[[0] * 3072] * 40), r"`data` must be .*, got a list"),
    "few labels": (changed(labels=[0] * 39), r"`labels` must be 40 integers, .*, got int64 \[39\]"),
    "float labels": (changed(labels=[0.5] * 40), r"`labels` must be .*, got float64"),
    "ragged labels": (changed(labels=[[0], [1, 2]] * 20), r"`labels` must be"),
    "label 10": (changed(labels=[10] * 40), r"`labels` must be from 0 to 9, got from 10 to 10"),
    "label -1": (changed(labels=[-1] * 40), r"`labels` must be from 0 to 9, got from -1 to -1"),
    "nothing": (changed(labels=[], data=np.zeros((0, 3072), np.uint8)), r"contains no images"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_with_the_wrong_format_are_named_in_one_line(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    write(tmp_path / TEST_FILE, content, protocol=4)
    with pytest.raises(ValueError, match=rf"test_batch:? {message}.*: replace it with the file from http") as raised:
        read_batch(tmp_path / TEST_FILE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [0, 1, 50, 60_000, -1])
def test_truncated_files_are_named(root: Path, length: int) -> None:
    path = root / FOLDER / TRAIN_FILES[1]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"data_batch_2 is corrupt or truncated"):
        read_batch(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    write(tmp_path / TEST_FILE, changed(labels=MakesFolder(marker)), protocol)
    with pytest.raises(ValueError, match=r"test_batch is refused: this pickle would run (posix|nt)\.mkdir"):
        read_batch(tmp_path / TEST_FILE)
    assert not marker.exists()
    pickle.loads((tmp_path / TEST_FILE).read_bytes())
    assert marker.exists()  # the file was dangerous


def test_an_array_of_objects_cannot_hide_code(tmp_path: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = MakesFolder(tmp_path / "ran")
    write(tmp_path / TEST_FILE, changed(data=array))
    with pytest.raises(ValueError, match=r"test_batch is refused"):
        read_batch(tmp_path / TEST_FILE)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"test_batch is missing.*cifar-10-python.tar.gz.*--data.root"):
        read_batch(tmp_path / TEST_FILE)


def test_urls_and_sums_are_those_of_torchvision() -> None:
    theirs = dict([*CIFAR10.train_list, *CIFAR10.test_list])
    theirs[CIFAR10.filename] = CIFAR10.tgz_md5
    assert theirs == cifar10_files.MD5
    assert CIFAR10.url == cifar10_files.URL
    assert CIFAR10.base_folder == FOLDER


def test_only_a_file_with_the_right_sum_is_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / TEST_FILE).write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"test_batch is not the original.*--data.verify false"):
        check_md5(tmp_path / TEST_FILE)
    monkeypatch.setitem(cifar10_files.MD5, TEST_FILE, "900150983cd24fb0d6963f7d28e17f72")  # of RFC 1321
    check_md5(tmp_path / TEST_FILE)


def test_without_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10_files, "URL", "http://localhost:9/cifar-10-python.tar.gz")
    with pytest.raises(FileNotFoundError, match=r"download failed.*cifar-10-python.tar.gz.*--data.root") as raised:
        fetch_archive(tmp_path / "new", verify=True)
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_root_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"data.root .*file/new cannot be created .*\(.*point --data.root") as raised:
        fetch_archive(tmp_path / "file" / "new", verify=True)
    assert "\n" not in str(raised.value)


def test_an_archive_in_the_root_is_unpacked(root: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    with tarfile.open(new / cifar10_files.ARCHIVE, "w:gz") as tar:
        tar.add(root / FOLDER, FOLDER)
    with pytest.raises(ValueError, match=r"tar.gz is not the original"):
        fetch_archive(new, verify=True)
    fetch_archive(new, verify=False)
    for name in (*TRAIN_FILES, TEST_FILE):
        assert (new / FOLDER / name).read_bytes() == (root / FOLDER / name).read_bytes()
    assert sorted(path.name for path in new.iterdir()) == [FOLDER, cifar10_files.ARCHIVE]


def test_processes_that_unpack_the_archive_at_once_share_the_folder(root: Path, tmp_path: Path, monkeypatch) -> None:
    new = tmp_path / "new"
    new.mkdir()
    with tarfile.open(new / cifar10_files.ARCHIVE, "w:gz") as tar:
        tar.add(root / FOLDER, FOLDER)
    provide, all_unpacked = cifar10_files._provide, threading.Barrier(3)
    monkeypatch.setattr(cifar10_files, "_provide", lambda *paths: (all_unpacked.wait(60), provide(*paths)))
    with ThreadPoolExecutor(3) as pool:  # each result raises what its call raised
        assert [each.result() for each in [pool.submit(fetch_archive, new, verify=False) for _ in range(3)]]
    assert sorted(path.name for path in new.iterdir()) == [FOLDER, cifar10_files.ARCHIVE]
    assert len(list((new / FOLDER).iterdir())) == len(list((root / FOLDER).iterdir()))


def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / cifar10_files.ARCHIVE).write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"tar.gz cannot be unpacked .*: delete it and download") as raised:
        fetch_archive(tmp_path, verify=False)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [cifar10_files.ARCHIVE]


def test_test_images_are_read_from_an_npz_file(tmp_path: Path) -> None:
    expected = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "other.npz", images=expected, labels=np.arange(7, dtype=np.uint8))
    images, labels = read_npz(str(tmp_path / "other.npz"))
    assert np.array_equal(images.numpy(), expected)
    assert labels.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 3, 32, 32), np.uint8)}, "has no arrays"),
        (
            {"images": np.zeros((2, 32, 32, 3), np.uint8), "labels": np.zeros(2, int)},
            r"`images` must be .*, got uint8 \[2, 32, 32, 3\]",
        ),
        ({"images": np.zeros((2, 3, 32, 32)), "labels": np.zeros(2, int)}, "`images` must be .*, got float64"),
        (
            {"images": np.zeros((2, 3, 32, 32), np.uint8), "labels": np.zeros(3, int)},
            r"`labels` must be 2 integers, .*, got int64 \[3\]",
        ),
        ({"images": np.zeros((2, 3, 32, 32), np.uint8), "labels": np.full(2, 12)}, "got from 12 to 12"),
        (
            {"images": np.array([MakesFolder(Path("x")), 1], dtype=object), "labels": np.zeros(2, int)},
            "cannot be read",
        ),
    ],
)
def test_npz_files_with_the_wrong_format_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=rf"bad.npz.*{message}.*: set --data.test_file to an .npz file with"):
        read_npz(str(tmp_path / "bad.npz"))


def test_files_that_are_not_npz_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.npz is missing"):
        read_npz(str(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match=r"text.npz cannot be read as .npz"):
        read_npz(str(tmp_path / "text.npz"))
