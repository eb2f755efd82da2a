"""Safe reading of files that `torch.save` wrote: as data, with every checksum verified."""

from __future__ import annotations

import errno
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from utils.error_text import NO_MEMORY, first_sentence

UNREAD = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
"""Errors of the system that say nothing about what is in a file."""

SAVE_STATE_DICT = "save its `state_dict()` with torch.save, and use that file"


def load_plain(path: str | Path) -> Any:
    """Return what `torch.save` wrote into a file, without running anything that the file may contain.

    The checksum of everything in the file is verified, if its format has them (a zip archive, torch's since 1.6).
    Tensors are then mapped from the file.

    Raises:
        ValueError: The file is damaged, or could run code; the message gives only the reason.
        OSError: The system does not let it be read.
    """
    try:
        zipped = zipfile.is_zipfile(path)
        damaged = _damaged_record(path) if zipped else None
        if damaged is not None and "/data/" not in damaged:  # what it holds may be anything
            raise ValueError(f"the checksum of {damaged} in it is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:  # which says nothing about the file
        raise
    except Exception as error:  # torch, pickle and zipfile have many for a damaged file
        if isinstance(error, OSError) and error.errno in UNREAD:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        if NO_MEMORY.search(str(error)):
            raise MemoryError(f"not enough memory to read {path}: {first_sentence(error)}") from error
        raise ValueError(_explain(path, error)) from error
    if damaged is not None:
        raise ValueError(f"it is damaged: the checksum of {_name_of(damaged, content) or damaged} is wrong")
    return content


def _damaged_record(path: str | Path) -> str | None:
    """Return the first record of an archive whose checksum is wrong, None if there is none."""
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise ValueError("TorchScript")
        packed = next((each for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED), None)
        if packed is not None:  # it would be mapped as it is
            raise ValueError(f"{packed.filename} in it is compressed")
        return archive.testzip()


def _explain(path: str | Path, error: Exception) -> str:
    """Return in one clause why a file cannot be read."""
    message = str(error)
    if "TorchScript" in message:
        return f"it is a TorchScript program, not weights: {SAVE_STATE_DICT}"
    if "Weights only load failed" not in message:
        reason = (
            message if type(error) is ValueError else f"{type(error).__name__}: {first_sentence(error)}".rstrip(": ")
        )
        return f"it is damaged or truncated: {reason}"
    try:
        code = sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # another format, or instructions that no pickle has
        code = re.findall(r"GLOBAL ([\w.]+)", message)
    classes = [name for name in code if not name.startswith("torch.nn.modules.")]
    named = f" ({', '.join((classes or code)[:2])})" if code else ""
    if len(classes) < len(code):
        return f"it is a whole pickled model{named}, which is code, not plain data: {SAVE_STATE_DICT}"
    return f"it is not plain data: loading it could run code{named}; if it is a whole model, {SAVE_STATE_DICT}"


def _name_of(record: str, content: Any) -> str | None:
    """Return the place in `content`, such as state_dict.fc.weight, of the tensor of a record `NAME/data/NUMBER`."""
    # torch.save numbers storages in the order in which it reaches them
    storages: dict[int, str] = {}
    for place, tensor in _tensors(content, "", set()):
        storages.setdefault(tensor.untyped_storage()._cdata, place)
    number = record.rpartition("/")[2]
    return list(storages.values())[int(number)] if number.isdecimal() and int(number) < len(storages) else None


def _tensors(content: Any, place: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield place, content
    elif isinstance(content, dict | list | tuple) and id(content) not in seen:
        seen.add(id(content))
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _tensors(value, f"{place}.{key}" if place else str(key), seen)
