"""A cache of resized images on disk."""

from __future__ import annotations

import glob
import hashlib
import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules.images.decoding import decode_images
from utils.devices import memory_bytes
from utils.files import atomic_path

_CACHE_VERSION = 3  # increase it whenever decode_image returns different pixels or the file format changes


SHARE_OF_MEMORY = 0.25
"""The largest share of the memory that the cached images of a split may take."""

_AT_ONCE = 1024  # images decoded and checked at once where not all fit into memory


def cached_images(
    paths: Sequence[Path], size: int, folder: Path, cache_dir: Path | None, split: str = "images", processes: int = 1
) -> Tensor:
    """Return the result of `decode_images`, cached on disk until a file is added, removed or changed.

    Images that take more than `SHARE_OF_MEMORY` in all processes are memory-mapped from the cache: the system reads the
    parts in use, which processes then share, and drops them when memory is short.

    A file counts as changed if its size, its modification time or its change time, which no copy or archive can set,
    differs. A damaged cache is rewritten.

    Args:
        paths: The files, all below `folder`.
        size: Height and width of the images, in pixels.
        folder: Folder that the cache file belongs to; a new one for the same folder and size replaces the last.
        cache_dir: Folder of the cache; None disables it.
        split: Which of the folder's images they are: one cache file is kept for each.
        processes: How many processes of this machine read them.

    Raises:
        ValueError: A file cannot be decoded (see `decode_images`).
    """
    if cache_dir is None:
        return decode_images(paths, size)
    stem = f"{folder.name}-{_digest(folder.resolve())}-{size}-{split}"
    cache = cache_dir / f"{stem}-{_digest(_CACHE_VERSION, list(map(_state, paths)))}.npy"
    shape = (len(paths), 3, size, size)
    if processes * np.prod(shape, dtype=np.int64) > SHARE_OF_MEMORY * memory_bytes():
        return _mapped(paths, shape, cache, stem)
    images = _read_cache(cache, shape)
    if images is None:
        images = decode_images(paths, size)
        _write_cache(cache, images, stem)
    return images


def _mapped(paths: Sequence[Path], shape: tuple[int, int, int, int], cache: Path, stem: str) -> Tensor:
    """Return images in a cache file, which is written if it is missing or damaged.

    Raises:
        OSError: It cannot be written.
        ValueError: A file cannot be decoded.
    """
    if (images := _map_cache(cache, shape)) is None:
        rank_zero_info(f"{shape[0]:,} images do not fit into memory: they are resized into {cache}")
        with atomic_path(cache) as temporary:
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            _reserve(temporary)
            for start in range(0, len(paths), _AT_ONCE):
                array[start : start + _AT_ONCE] = decode_images(paths[start : start + _AT_ONCE], shape[-1]).numpy()
            checksum = _checksum(array)
            array.flush()
            del array
            with temporary.open("ab") as file:
                file.write(checksum)
        _remove_stale(cache, stem)
        images = _map_cache(cache, shape)
        assert images is not None
    return images


def _reserve(file: Path) -> None:
    """Give a file room on the disk: writing to memory that maps what has none would end the process by SIGBUS.

    Raises:
        OSError: There is no room.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _map_cache(cache: Path, shape: tuple[int, ...]) -> Tensor | None:
    """Return the images of a cache file, which stay in it; None if it is missing or damaged."""
    try:
        array = np.load(cache, mmap_mode="c", allow_pickle=False)
        with cache.open("rb") as file:
            file.seek(-4, os.SEEK_END)
            checksum = file.read()
    except (OSError, ValueError, EOFError):
        return None
    return _intact(array, shape, checksum)


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
    return _intact(array, shape, checksum)


def _intact(array: np.ndarray[Any, Any], shape: tuple[int, ...], checksum: bytes) -> Tensor | None:
    """Return an array that was read as a tensor; None if it is not the one that was written."""
    if array.dtype != np.uint8 or array.shape != shape or checksum != _checksum(array):
        return None
    return torch.from_numpy(array)


def _checksum(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    checksum = 0
    for start in range(0, len(array), _AT_ONCE):
        checksum = zlib.crc32(np.ascontiguousarray(array[start : start + _AT_ONCE]).data, checksum)
    return checksum.to_bytes(4, "little")


def _write_cache(cache: Path, images: Tensor, stem: str) -> None:
    array = images.numpy()
    try:
        with atomic_path(cache) as temporary, temporary.open("wb") as file:
            np.save(file, array)
            file.write(_checksum(array))
        _remove_stale(cache, stem)
    except OSError as error:  # a cache only saves time
        warnings.warn(
            f"the image cache {cache} cannot be written ({error.strerror}): images will be decoded at every start",
            stacklevel=2,
        )


def _remove_stale(cache: Path, stem: str) -> None:
    for stale in cache.parent.glob(f"{glob.escape(stem)}-*.npy"):
        if stale != cache:
            stale.unlink(missing_ok=True)
