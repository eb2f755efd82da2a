"""Image files with labels, and their splits, which are made before any file is read."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from datamodules.images.image_set import SplitPurpose, split_off, stratified_split


class ImageFiles(NamedTuple):
    """Image files with labels.

    Attributes:
        paths: The files.
        labels: int64 [N].
        folder: The folder that they are all below.
        source: Where they come from, as text.
    """

    paths: list[Path]
    labels: Tensor
    folder: Path
    source: str

    def select(self, positions: Tensor) -> ImageFiles:
        """Return the files at these positions (int64)."""
        paths = [self.paths[position] for position in positions.tolist()]
        return self._replace(paths=paths, labels=self.labels[positions])

    def _names(self) -> list[str]:
        """Return the path of each file within the folder of its class: a file of another class keeps it."""
        inside = (Path(*path.relative_to(self.folder).parts[1:]).as_posix() for path in self.paths)
        return [unicodedata.normalize("NFC", name) for name in inside]

    def hold_out(self, fraction: float, seed: int, purpose: SplitPurpose) -> tuple[ImageFiles, ImageFiles | None]:
        """Return the files left and those held out, stratified; (these files, None) if the fraction rounds to no file.

        Args:
            fraction: Share of the files to hold out.
            seed: The same seed and purpose hold out the same files, whatever others there are; a few at the border may
                differ.
            purpose: What the files are held out for.
        """
        size = round(fraction * len(self.paths))
        if size == 0:
            return self, None
        kept, held_out = stratified_split(self.labels, size, seed=seed, purpose=purpose, names=self._names())
        return self.select(kept), self.select(held_out)._replace(source=split_off(self.source))
