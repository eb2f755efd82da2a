"""Results of earlier tests and predictions, kept under a number beside those of the newest one."""

import filecmp
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

ALSO_OF_A_FIT = (
    "confusion_matrix.png",
    "confusion_matrix.json",
    "mistakes.png",
    "mistakes.json",
    "reliability.json",
    "attention.png",
    "attention.json",
)
"""Files that a fit writes too, so that they do not show that there was a test."""

RESULTS = {
    "test": (
        "test_metrics.json",
        "test_hypotheses.txt",
        "test_references.txt",
        "test_outputs.jsonl",
        "filters.png",
        "filters.json",
        *ALSO_OF_A_FIT,
    ),
    "predict": ("predictions.csv", "predictions.txt", "predictions.jsonl"),
}
"""The files of a test and of a prediction in a run folder."""


class EarlierResults(Callback):
    """Callback that keeps the files of an earlier test or prediction under a number if the new ones differ.

    `test_metrics.json` always belongs to the newest test. The one before, with its hypotheses and plots, becomes
    `test_metrics-1.json`, the next one `-2`, whether the checkpoint, the data or the settings differ. A plot that the
    newest test does not draw exists under a number alone. Repeating a test writes the same bytes, so nothing is kept
    twice.

    It must come after all callbacks that write such files.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Path, Path]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the earlier files their second names, before anything can overwrite them."""
        self._kept = []
        if trainer.is_global_zero and stage in RESULTS:
            self._kept = keep(Path(trainer.default_root_dir), RESULTS[stage])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the second names if nothing changed, else the first names of what was not written again."""
        kept = self._kept
        self._drop_repeated()
        stale = [path for path, copy in kept if copy.is_file() and _is_untouched(path, copy) and _is_of_a_test(path)]
        for path in stale:
            path.unlink()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the second names if nothing changed before the failure."""
        self._drop_repeated()

    def _drop_repeated(self) -> None:
        kept, self._kept = self._kept, []
        if not kept:
            return
        results = [pair for pair in kept if pair[0].name not in ALSO_OF_A_FIT]
        if all(path.is_file() and filecmp.cmp(path, copy, shallow=False) for path, copy in results):
            for _, copy in kept:
                copy.unlink()
        else:
            rank_zero_info(f"the earlier results are kept: {', '.join(copy.name for _, copy in kept)}")


def _is_untouched(path: Path, copy: Path) -> bool:
    """Return whether a file was not written again since it got its second name."""
    if not path.is_file():
        return False
    return path.samefile(copy) or path.stat().st_mtime_ns == copy.stat().st_mtime_ns


def _is_of_a_test(path: Path) -> bool:
    """Return whether a file comes from a test or prediction: a plot that a fit draws too says so in its JSON."""
    if path.name not in ALSO_OF_A_FIT:
        return True
    try:
        return bool(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["of"] == "test")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def keep(folder: Path, names: Sequence[str]) -> list[tuple[Path, Path]]:
    """Give each of the named files that exists a second name with the next free number, the same for all of them.

    Files are replaced by renaming (`utils.files`), which leaves the second name with the old content.

    Returns:
        The files and their second names; empty if there are only files that a fit writes too.
    """
    there = [folder / name for name in names if (folder / name).is_file()]
    if all(path.name in ALSO_OF_A_FIT for path in there):
        return []
    number = 1 + max((found for name in names for found in _numbers(folder, name)), default=0)
    kept = []
    for path in there:
        copy = path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            os.link(path, copy)
        except OSError:  # a file system without links
            shutil.copy2(path, copy)
        kept.append((path, copy))
    return kept


def _numbers(folder: Path, name: str) -> list[int]:
    """Return the numbers of the earlier versions of a file."""
    stem, suffix = Path(name).stem, Path(name).suffix
    pattern = re.compile(rf"{re.escape(stem)}-(\d+){re.escape(suffix)}")
    return [int(found[1]) for path in folder.iterdir() if (found := pattern.fullmatch(path.name))]
