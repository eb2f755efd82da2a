"""Decoding of image files of any size and mode into one uint8 tensor."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from datamodules.images.formats import readable_formats
from utils.file_names import readable

_LARGE = 2**25  # pixels: larger images are decoded one at a time, or all threads together could fill the memory
_one_large_image = threading.Lock()
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 0x0112, 258, 262, 339  # tags of EXIF and TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Source = TypeVar("Source")


def decode_image(path: Path, size: int) -> Tensor:
    """Return one image as uint8 [3, size, size].

    The largest centred square is kept and resized (bicubic, antialiased). Orientation tags are applied, transparency is
    composited over white, grey is repeated for the three channels, 16-bit grey is divided by 257, palettes and CMYK are
    converted to RGB, and only the first frame of an animation or page of a multi-page file is used.

    Args:
        path: The file. Its content, not its ending, determines the format.
        size: Height and width of the result, in pixels.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be decoded, or has more than twice `PIL.Image.MAX_IMAGE_PIXELS` pixels (179 million
            by default): a small file that unpacks to that many may be meant to fill the memory.
    """
    return _decode(path, size, readable(path))


def decode_content(content: bytes, size: int, name: str) -> Tensor:
    """Return the image in the content of a file as uint8 [3, size, size]; `decode_image` says how.

    Args:
        content: The bytes of the file.
        size: Height and width of the result, in pixels.
        name: What to call the image in an error.

    Raises:
        ValueError: As `decode_image`.
    """
    return _decode(io.BytesIO(content), size, name)


def _decode(file: Path | io.BytesIO, size: int, name: str) -> Tensor:
    try:
        if (file.stat().st_size if isinstance(file, Path) else len(file.getbuffer())) == 0:
            raise EOFError("the file is empty")
        with Image.open(file, formats=readable_formats()) as image:
            # A JPEG can be decoded at a fraction of its size, which must still be twice the size of the result.
            image.draft("RGB", (2 * size, 2 * size))
            with _one_large_image if image.width * image.height > _LARGE else contextlib.nullcontext():
                image.load()
                return square_image(image, size)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name} does not exist: check the path") from error
    except Exception as error:  # each format's decoder raises its own exceptions
        raise ValueError(f"{name} cannot be read as an image ({_reason(error)}): replace or remove it") from error


def square_image(image: Image.Image, size: int) -> Tensor:
    """Return a loaded image as uint8 [3, size, size]; `decode_image` says how."""
    square = ImageOps.fit(_as_rgb(_upright(image)), (size, size), method=Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    if isinstance(error, OSError) and error.strerror:  # without the path, which is already in the message
        lines = [error.strerror]
    elif isinstance(error, UnidentifiedImageError):
        lines = ["its format is not known"]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _upright(image: Image.Image) -> Image.Image:
    """Return a loaded image turned as its orientation tag says.

    Pillow's `exif_transpose` rewrites all other tags, and so fails if one of them is odd.
    """
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # tags that cannot be read say nothing about the pixels
        return image
    if method is None:
        return image
    turned = image.transpose(method)
    turned.format = image.format
    return turned


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey(image)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


def _grey(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return an image of one channel with more than 8 bits as uint8 [H, W]."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    pixels: np.ndarray[Any, Any] = np.asarray(image)
    if tags and image.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1:
        pixels = pixels.view(np.uint32)  # Pillow takes 32 unsigned bits for signed ones
    values = np.nan_to_num(pixels.astype(np.float32))
    if image.mode.startswith("I;16"):
        top = 2 ** tags.get(_BITS, (16,))[0] - 1
    elif image.mode == "I" and image.format != "TIFF":  # 16 bits of PNG and PPM in an image of 32
        top = 65535
    else:  # floats and 32-bit integers have no fixed range: the smallest usual one that holds them all
        highest = float(values.max())
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((each for each in ranges if highest <= each), highest)
    grey: np.ndarray[Any, np.dtype[np.uint8]] = (values * (255 / top)).round().clip(0, 255).astype(np.uint8)
    inverted = image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == 0  # Pillow only inverts 8 bits
    return np.invert(grey) if inverted else grey


def decode_readable(paths: Sequence[Path], size: int) -> tuple[Tensor, dict[int, str]]:
    """Return images as uint8 [N, 3, size, size], in the order of `paths`, and why some could not be decoded.

    Returns:
        The images, black where a file could not be decoded, and for each of those its place and the error.
    """
    images = torch.zeros(len(paths), 3, size, size, dtype=torch.uint8)
    return images, decode_into(images, paths, lambda path: decode_image(path, size))


def decode_into(images: Tensor, sources: Iterable[Source], decode: Callable[[Source], Tensor]) -> dict[int, str]:
    """Decode images in several threads, each into its place; return the places and errors of those that cannot be.

    Args:
        images: The tensor to fill, uint8 [N, 3, H, W].
        sources: Files, or whatever `decode` takes, one per image.
        decode: Returns an image as uint8 [3, H, W], or raises FileNotFoundError or ValueError.
    """
    errors: dict[int, str] = {}

    def decoded_or_error(source: Source) -> Tensor | str:
        try:
            return decode(source)
        except (FileNotFoundError, ValueError) as error:
            return str(error)

    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large photographs, odd tags: no matter for the pixels
        for place, decoded in enumerate(pool.map(decoded_or_error, sources)):
            if isinstance(decoded, str):
                errors[place] = decoded
            else:  # not in the threads: inference mode only holds in this one
                images[place] = decoded
    return errors


def decode_images(paths: Sequence[Path], size: int) -> Tensor:
    """Return images as uint8 [N, 3, size, size], in the order of `paths`.

    Raises:
        ValueError: Files cannot be decoded (see `decode_image`); the message names them.
    """
    images, errors = decode_readable(paths, size)
    if errors:
        first, *others = errors
        message = errors[first]
        if others:
            message += f"; {len(others):,} more cannot be read: {list_some([paths[place] for place in others])}"
        raise ValueError(message)
    return images


def list_some(paths: Sequence[Path], maximum: int = 10) -> str:
    """Return paths as text, at most the first `maximum`."""
    shown = ", ".join(readable(path) for path in paths[:maximum])
    return shown + (", ..." if len(paths) > maximum else "")
