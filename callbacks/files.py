"""What every observer needs to write a file: whole files only, and not too often."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place once the block has ended well.

    A reader sees the old file or the new one, never half of one; a block that raises leaves the old one.
    The temporary name has the same suffix (libraries choose a format by it) and is the same every time, so that what a
    killed process left is overwritten by the next instead of piling up.

    Args:
        path: The file to write; missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # the rename must not reach the disk before the content
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Throttle:
    """Says whether enough time has passed since it last said yes.

    Args:
        seconds: The least time between two yeses; the first question is always answered yes.
        clock: Seconds since any fixed moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        if seconds < 0:
            raise ValueError(f"seconds must be >= 0, got {seconds}")
        self.seconds = seconds
        self.clock = clock
        self._last: float | None = None

    def due(self) -> bool:
        """True (and the wait begins anew) when at least `seconds` have passed."""
        now = self.clock()
        if self._last is not None and now - self._last < self.seconds:
            return False
        self._last = now
        return True
