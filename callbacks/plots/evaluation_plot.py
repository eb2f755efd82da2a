"""Base class of the plots of a validation or a test."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callbacks.plots.drawing import drawing
from callbacks.plots.evaluation_files import Collected, EvaluationFiles
from utils.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EvaluationPlot(EvaluationFiles[Collected]):
    """Base class of plots of a validation or a test: a PNG file and, for the report, a JSON file with what it shows.

    Args:
        every_n_seconds: Minimum time between two drawings during a fit, in seconds.
    """

    file_name: str

    def figure(self, collected: Collected, class_names: Sequence[str] | None, title: str) -> "Figure":
        """Return the figure of what was collected; called on the first process."""
        raise NotImplementedError

    def data(self, collected: Collected, class_names: Sequence[str] | None) -> Mapping[str, Any] | None:
        """Return what the figure shows, as plain values; None for no file. Called on the first process."""
        return None

    def write(self, folder: Path, collected: Collected, class_names: Sequence[str] | None, title: str) -> None:
        """Draw the figure, and write what it shows."""
        with atomic_path(folder / self.file_name, parents=False) as path, drawing():
            self.figure(collected, class_names, title).savefig(path, dpi=110)
        data = self.data(collected, class_names)
        if data is not None:
            write_data((folder / self.file_name).with_suffix(".json"), title, data)


def write_data(path: Path, title: str, data: Mapping[str, Any]) -> None:
    """Write data as one line of JSON; `of` in it says what was evaluated."""
    text = json.dumps({"of": title, **data}, ensure_ascii=False, separators=(",", ":"))
    write_text(path, text + "\n", parents=False)  # a deleted run folder must not return
