"""The plots of a run folder, for trackers to show."""

import re
from pathlib import Path

import numpy as np

_NUMBERED = re.compile(r".*-\d+")  # kept by `EarlierResults`


class NewImages:
    """The plots of a run folder that have changed since they were last asked for.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[Path, int] = {}

    def take(self) -> dict[str, Path]:
        """Return the plots that are new or have been drawn again, by name, such as "confusion_matrix"."""
        files = [path for path in sorted(self.folder.glob("*.png")) if not _NUMBERED.fullmatch(path.stem)]
        changed = {path: path.stat().st_mtime_ns for path in files}
        changed = {path: time for path, time in changed.items() if self._seen.get(path) != time}
        self._seen.update(changed)
        return {path.stem: path for path in changed}


def pixels(path: Path) -> np.ndarray:
    """Return an image as uint8 [H, W, 3]."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
