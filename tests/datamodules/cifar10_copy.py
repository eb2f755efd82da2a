"""Files in the format of CIFAR-10, with random images."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.images.cifar10_files import FOLDER, TEST_FILE, TRAIN_FILES


def batch(seed: int, number: int = 40) -> dict[Any, Any]:
    """Return what a batch file holds: rows of 1,024 red, then green, then blue values; labels as a list."""
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


def write_copy(root: Path) -> None:
    """Write all files, with 40 images each, below `root`."""
    (root / FOLDER).mkdir()
    for seed, name in enumerate((*TRAIN_FILES, TEST_FILE)):
        write(root / FOLDER / name, batch(seed))


def read_raw(folder: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of files as `pickle` alone reads them."""
    parts = [pickle.loads((folder / name).read_bytes(), encoding="latin1") for name in names]
    data = np.concatenate([part["data"].reshape(-1, 3, 32, 32) for part in parts])
    return data, np.concatenate([np.array(part["labels"]) for part in parts])


class MakesFolder:
    """An object whose pickle creates a folder when `pickle` loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)
