"""The files of CIFAR-10: downloaded, verified, and read without running code that a pickle may contain."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.downloads import impatient

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
# As in torchvision.datasets.CIFAR10.
MD5 = {
    ARCHIVE: "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CLASSES = 10

_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((module, name) for module in _NUMPY_CORE for name in ("_reconstruct", "scalar")),
    *((module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")),
}


class _ForbiddenError(Exception):
    """A pickle asks for something other than numpy arrays and plain containers."""


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of plain containers and numpy arrays that refuses every other global before importing it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _ForbiddenError(f"{module}.{name}")
        return super().find_class(module, name)


def read_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Read a batch file: images uint8 [N, 3, 32, 32] and labels int64 [N].

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file would run code, cannot be read or has the wrong format.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: unpack {URL} into {path.parent.parent}, "
            f"or point --data.root at a folder that contains {FOLDER}"
        )
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except _ForbiddenError as error:
        raise ValueError(
            f"{path} is refused: this pickle would run {error}, which no CIFAR-10 file does; "
            f"replace it with the file from {URL}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror or error}): check the file and its permissions"
        ) from error
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(
            f"{path} is corrupt or truncated ({type(error).__name__}): delete it and unpack {URL} again"
        ) from error
    return _check_batch(path, content)


def _check_batch(path: Path, content: Any) -> tuple[Tensor, Tensor]:
    """Return images and labels of an unpickled batch, or raise a ValueError that names the file."""
    fix = f"replace it with the file from {URL}"
    if type(content) is not dict:
        raise ValueError(f"{path} holds a {type(content).__name__}, but a CIFAR-10 batch is a dict: {fix}")
    fields = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    for name in ("data", "labels"):
        if name not in fields:
            raise ValueError(f"{path} has no field `{name}`: {fix}")
    data = fields["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise ValueError(f"{path}: `data` must be uint8 [N, 3072], got {_describe(data)}: {fix}")
    labels = _check_labels(path, fields["labels"], len(data), fix)
    return torch.from_numpy(data.reshape(-1, 3, 32, 32).copy()), labels


def _check_labels(path: Path, labels: Any, number: int, fix: str) -> Tensor:
    """Return labels as int64 [number], each a class, or raise a ValueError that names the file."""
    if number == 0:
        raise ValueError(f"{path} contains no images: {fix}")
    try:
        array = np.asarray(labels)
    except ValueError:
        array = np.empty(0)
    if array.ndim != 1 or len(array) != number or array.dtype.kind not in "iu":
        raise ValueError(f"{path}: `labels` must be {number} integers, one per image, got {_describe(array)}: {fix}")
    if array.min() < 0 or array.max() >= CLASSES:
        raise ValueError(
            f"{path}: `labels` must be from 0 to {CLASSES - 1}, got from {array.min()} to {array.max()}: {fix}"
        )
    return torch.from_numpy(array.astype(np.int64))


def _describe(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def read_npz(file: str) -> tuple[Tensor, Tensor]:
    """Read test images from an .npz file: `images` uint8 [N, 3, 32, 32] and `labels` [N].

    Returns:
        Images uint8 [N, 3, 32, 32] and labels int64 [N].

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file cannot be read or has the wrong format.
    """
    path = Path(file)
    fix = "set --data.test_file to an .npz file with `images` uint8 [N, 3, 32, 32] and `labels` [N]"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {fix}")
    try:
        with np.load(path, allow_pickle=False) as content:
            images, labels = content["images"], content["labels"]
    except KeyError as error:
        raise ValueError(f"{path} has no arrays `images` and `labels`: {fix}") from error
    except Exception as error:  # zipfile, zlib and numpy each raise their own exceptions
        raise ValueError(f"{path} cannot be read as .npz ({type(error).__name__}): {fix}") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (3, 32, 32):
        raise ValueError(f"{path}: `images` must be uint8 [N, 3, 32, 32], got {_describe(images)}: {fix}")
    return torch.from_numpy(images), _check_labels(path, labels, len(images), fix)


def check_md5(path: Path) -> None:
    """Check that a file has the MD5 sum of the original.

    Raises:
        ValueError: It has another.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != MD5[path.name]:
        raise ValueError(
            f"{path} is not the original file (MD5 {found}, expected {MD5[path.name]}): pass --data.verify false to "
            "use this copy as it is, or move it away to download the original"
        )


def fetch_archive(root: Path, *, verify: bool) -> None:
    """Unpack the archive in `root` into `root/cifar-10-batches-py`; download it first if it is not there.

    The files are unpacked into a temporary folder, which is then renamed, so that an interruption leaves no incomplete
    data set. Several processes may do this at once, such as the jobs of an array: the first to be done provides the
    folder for all.

    Args:
        root: Folder of the archive, created if missing.
        verify: Whether an archive found in `root` must have the MD5 sum of the original; a download always must.

    Raises:
        FileNotFoundError: The download failed.
        OSError: `root` cannot be created or written to.
        ValueError: An archive found in `root` is damaged or not the original.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".cifar10-", dir=root)
    except OSError as error:
        raise OSError(
            f"data.root {root} cannot be created or written to ({error.strerror or error}): unpack {URL} elsewhere and "
            f"point --data.root at the folder that contains {FOLDER}, or choose another --data.root to download into"
        ) from error
    with folder as temporary:
        archive = root / ARCHIVE
        if archive.is_file():
            if verify:
                check_md5(archive)
        else:
            archive = Path(temporary) / ARCHIVE
            _download(archive, root)
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
            _provide(Path(temporary) / FOLDER, root / FOLDER)
        except (tarfile.TarError, EOFError, OSError) as error:
            reason = str(error).partition("\n")[0].rstrip(":")
            raise ValueError(f"{archive} cannot be unpacked ({reason}): delete it and download {URL} again") from error


def _provide(unpacked: Path, folder: Path) -> None:
    """Rename a folder, unless another process was first."""
    try:
        unpacked.rename(folder)
    except OSError:
        if not folder.is_dir() or not unpacked.is_dir():
            raise


def _download(archive: Path, root: Path) -> None:
    """Download the archive; `root` is where the user wants the data, for the error."""
    from torchvision.datasets.utils import download_url

    try:
        with impatient():
            download_url(URL, str(archive.parent), filename=archive.name, md5=MD5[ARCHIVE])
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{root / FOLDER} is missing and the download failed ({error}): download {URL}, unpack it into {root}, "
            f"or point --data.root at a folder that contains {FOLDER}"
        ) from error
