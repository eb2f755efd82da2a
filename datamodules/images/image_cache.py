"""A cache of resized images on disk."""

from __future__ import annotations

import glob
import hashlib
import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.images.decoding import decode_images
from utils.files import atomic_path

_CACHE_VERSION = 2  # increase it whenever decode_image returns other pixels, or the file has another form


def cached_images(paths: Sequence[Path], size: int, folder: Path, cache_dir: Path | None) -> Tensor:
    """Return what `decode_images` does, cached on disk until a file is added, removed or changed.

    A file counts as changed if its size or one of its times differs: that of its content, or that of its entry, which
    no copy or archive can set. A damaged cache is written again.

    Args:
        paths: The files, all below `folder`.
        size: Height and width of the images, in pixels.
        folder: Folder that the cache file belongs to; a new one for the same folder and size replaces the last.
        cache_dir: Folder of the cache; None disables it.

    Raises:
        ValueError: A file cannot be decoded (see `decode_images`).
    """
    if cache_dir is None:
        return decode_images(paths, size)
    stem = f"{folder.name}-{_digest(folder.resolve())}-{size}"
    cache = cache_dir / f"{stem}-{_digest(_CACHE_VERSION, list(map(_state, paths)))}.npy"
    images = _read_cache(cache, (len(paths), 3, size, size))
    if images is None:
        images = decode_images(paths, size)
        _write_cache(cache, images, stem)
    return images


def _state(path: Path) -> tuple[str, int, int, int]:
    try:
        state = path.stat()
    except OSError:  # a broken link is reported where it is decoded
        return os.fspath(path), 0, 0, 0
    return os.fspath(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def _read_cache(cache: Path, shape: tuple[int, ...]) -> Tensor | None:
    """Return the images of a cache file; None if it is missing or damaged."""
    try:
        with cache.open("rb") as file:
            array = np.load(file, allow_pickle=False)
            checksum = file.read()
    except (OSError, ValueError, EOFError):
        return None
    if array.dtype != np.uint8 or array.shape != shape or checksum != _checksum(array):
        return None
    return torch.from_numpy(array)


def _checksum(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return zlib.crc32(array.data).to_bytes(4, "little")


def _write_cache(cache: Path, images: Tensor, stem: str) -> None:
    array = images.numpy()
    try:
        with atomic_path(cache) as temporary, temporary.open("wb") as file:
            np.save(file, array)
            file.write(_checksum(array))
        for stale in cache.parent.glob(f"{glob.escape(stem)}-*.npy"):
            if stale != cache:
                stale.unlink(missing_ok=True)
    except OSError as error:  # a cache only saves time
        warnings.warn(
            f"the image cache {cache} cannot be written ({error.strerror}): images will be decoded at every start",
            stacklevel=2,
        )
