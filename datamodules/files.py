"""Writing a file that others may read, or write too, at the same time: a whole one or none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a path beside `file`, of this process alone, which takes its place once the block has ended well.

    Args:
        file: The file to write; missing parent folders are made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}-{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # the rename must not reach the disk before the content
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
