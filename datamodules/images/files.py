"""Image files of any size and mode as one uint8 tensor: found, decoded, resized once and cached on disk."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from utils.files import atomic_path

EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
_CACHE_VERSION = 1  # increase it whenever decode_image returns other pixels


def find_images(folder: Path) -> list[Path]:
    """Return all image files below a folder except hidden ones, sorted by path.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds no image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: check the path")
    found = [
        Path(directory, name)
        for directory, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in EXTENSIONS
    ]
    images = sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not images:
        raise ValueError(f"{folder} holds no images: files must end in one of {', '.join(sorted(EXTENSIONS))}")
    return images


def decode_image(path: Path, size: int) -> Tensor:
    """Return one image as uint8 [3, size, size].

    The largest centred square is kept and resized (bicubic, antialiased). Orientation tags are applied, transparency is
    composited over white, grey is repeated for the three channels, 16-bit grey is divided by 257, palettes and CMYK are
    converted to RGB, and of an animation the first frame is used.

    Args:
        path: The file.
        size: Height and width of the result, in pixels.

    Raises:
        ValueError: The file cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            # A JPEG can be decoded at a fraction of its size, which must still be twice the size of the result.
            image.draft("RGB", (2 * size, 2 * size))
            upright = ImageOps.exif_transpose(image)
            square = ImageOps.fit(_as_rgb(upright), (size, size), method=Image.Resampling.BICUBIC)
            return torch.from_numpy(np.array(square)).permute(2, 0, 1)
    except Exception as error:  # each format's decoder raises its own exceptions
        reason = str(error).splitlines()[0] if str(error) else ""
        raise ValueError(
            f"{path} cannot be read as an image ({type(error).__name__}: {reason}): replace or remove it"
        ) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        # Pillow opens 16-bit grey as I;16 or I; an F image holds values up to 1 or up to 255.
        scale = 1 / 257 if values.max() > 255 or image.mode.startswith("I;16") else 255 if values.max() <= 1 else 1
        return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


def decode_images(paths: Sequence[Path], size: int) -> Tensor:
    """Return images as uint8 [N, 3, size, size], in the order of `paths`.

    Raises:
        ValueError: A file cannot be decoded (see `decode_image`).
    """
    images = torch.empty(len(paths), 3, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large photographs are fine
        for number, image in enumerate(pool.map(lambda path: decode_image(path, size), paths)):
            images[number] = image
    return images


def cached_images(paths: Sequence[Path], size: int, folder: Path, cache_dir: Path | None) -> Tensor:
    """Return what `decode_images` does, cached on disk until a file is added, removed or changed.

    A file counts as changed if its size or its modification time differs.

    Args:
        paths: The files, all below `folder`.
        size: Height and width of the images, in pixels.
        folder: Folder that the cache file belongs to; a new one for the same folder and size replaces the last.
        cache_dir: Folder of the cache; None disables it.

    Raises:
        ValueError: A file cannot be decoded (see `decode_image`).
    """
    if cache_dir is None:
        return decode_images(paths, size)
    states = [(os.fspath(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    stem = f"{folder.name}-{_digest(folder.resolve())}-{size}"
    cache = cache_dir / f"{stem}-{_digest(_CACHE_VERSION, states)}.npy"
    images = _read_cache(cache, (len(paths), 3, size, size))
    if images is None:
        images = decode_images(paths, size)
        _write_cache(cache, images, stem)
    return images


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def _read_cache(cache: Path, shape: tuple[int, ...]) -> Tensor | None:
    try:
        array = np.load(cache, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing, or truncated by a full disk: it will be written again
        return None
    return torch.from_numpy(array) if array.dtype == np.uint8 and array.shape == shape else None


def _write_cache(cache: Path, images: Tensor, stem: str) -> None:
    try:
        with atomic_path(cache) as temporary, temporary.open("wb") as file:
            np.save(file, images.numpy())
        for stale in cache.parent.glob(f"{stem}-*.npy"):
            if stale != cache:
                stale.unlink(missing_ok=True)
    except OSError as error:  # a cache only saves time
        warnings.warn(
            f"the image cache {cache} cannot be written ({error.strerror}): images will be decoded at every start",
            stacklevel=2,
        )
