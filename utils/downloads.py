"""Downloads: cached, verified, and given up after a timeout where there is no network."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

import torch

from utils.error_text import text_of
from utils.files import atomic_path

_DATE = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_HASH = re.compile(rf"-(?!{_DATE}\.)([0-9a-f]{{8,}})\.")
SECONDS = 20
"""Timeout: how long a server may stay silent."""


def is_address(source: str) -> bool:
    """Return whether a source is a network address, not a file."""
    return source.startswith("https://")


@contextmanager
def impatient() -> Iterator[None]:
    """Give up on servers that do not answer: behind a firewall, downloads would wait forever."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)


def place_of(address: str) -> Path:
    """Return where torch's cache has the file of an address: `~/.cache/torch/hub/checkpoints`, or below TORCH_HOME.

    Many addresses end in `model.safetensors`, so that a name without a digest is preceded by one of the address.
    """
    name = Path(urlparse(address).path).name
    if not _HASH.search(name):
        name = f"{sha256(address.encode()).hexdigest()[:12]}_{name}"
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def fetch(address: str) -> Path:
    """Return the file of an address, downloaded into torch's cache unless it is there.

    If its name contains the beginning of its SHA-256, as in `resnet18-f37072fd.pth`, the download must match it.

    Raises:
        OSError: It cannot be downloaded; the message says where to put it.
    """
    file = place_of(address)
    if file.is_file():
        return file
    try:
        with atomic_path(file) as temporary, impatient():
            digest = _HASH.search(file.name)
            torch.hub.download_url_to_file(address, str(temporary), digest[1] if digest else None, progress=False)
            if not digest:
                _check_size(temporary, address)
    except (OSError, RuntimeError) as error:  # RuntimeError: the digest is wrong
        raise OSError(
            f"{address} cannot be downloaded ({text_of(error)}): download it elsewhere and put it there as {file}"
        ) from error
    return file


def _check_size(file: Path, address: str) -> None:
    """Raise OSError if a download is incomplete: urllib does not notice that a connection ends early."""
    with urlopen(address) as response:
        expected = response.headers.get("Content-Length")
    if expected is not None and (size := file.stat().st_size) != int(expected):
        raise OSError(f"only {size:,} of {int(expected):,} bytes arrived")
