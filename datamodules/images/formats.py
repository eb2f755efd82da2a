"""Image formats that can be read, recognised by a file's ending or, if it has none, by its content."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import warnings

from PIL import Image, UnidentifiedImageError, features

_NEEDS = {"JPEG": "jpg", "PNG": "zlib", "WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
"""Pillow's formats that need a library it may have been built without, and the library."""

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
"""Pillow's formats that hold pixels, begin with a signature, and do not start another program (as EPS does)."""

_HINTS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "`pip install pillow-heif` reads them"),
    **dict.fromkeys((".avif", ".avifs"), "`pip install -U pillow` reads them"),
    **dict.fromkeys(
        (
            ".tga",
            ".ico",
            ".psd",
            ".svg",
            ".eps",
            ".pdf",
            ".jxl",
            ".dng",
            ".cr2",
            ".cr3",
            ".nef",
            ".arw",
            ".raf",
            ".orf",
        ),
        "convert them to PNG or JPEG",
    ),
}
"""What to do about images that cannot be read, by ending."""


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Return the names of the formats that the installed Pillow can read; HEIF with pillow-heif."""
    Image.init()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    known = [name for name in _FORMATS if name in Image.OPEN]
    return tuple(name for name in known if name not in _NEEDS or features.check(_NEEDS[name]))


@functools.cache
def readable_endings() -> frozenset[str]:
    """Return the endings of the files of these formats, in lower case, such as `.jpg`."""
    formats = {*readable_formats(), "MPO"}  # a JPEG with several images, opened as JPEG
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)


def ending_of(name: str) -> str:
    """Return the ending of a file name in lower case; empty if it has none."""
    return os.path.splitext(name)[1].lower().rstrip(".")  # noqa: PTH122 (Path.suffix differs between versions)


def hint_for(ending: str) -> str:
    """Return what to do about files of an ending that is not readable; empty if nothing is known."""
    return _HINTS.get(ending, "")


def is_image(path: str | os.PathLike[str]) -> bool:
    """Return whether the content of a file begins as an image that can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=readable_formats()):
                return True
        except Image.DecompressionBombError:  # an image that is too large is still an image
            return True
        except (UnidentifiedImageError, OSError, ValueError):
            return False
