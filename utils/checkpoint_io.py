"""Lightning's checkpoint plugin with atomic writes: a file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from utils.files import atomic_path

_NO_SPACE = re.compile(r"PytorchStreamWriter|inline_container|unexpected pos")
"""What torch says if its zip file cannot be written to the end."""


class WholeFileIO(TorchCheckpointIO):
    """Lightning's `TorchCheckpointIO` without the copy in memory and the temporary file in TMPDIR.

    The checkpoint is written to a temporary file in the same folder, flushed to the disk and renamed; then the folder
    is flushed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            FileNotFoundError: Its folder is missing: somebody has deleted or moved the run folder.
            OSError: It cannot be written, for example for lack of space; an earlier file is left in place.
        """
        with atomic_path(path, parents=False) as temporary:
            try:
                with Path(temporary).open("wb") as file:
                    torch.save(checkpoint, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                if _NO_SPACE.search(str(error)):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise
