"""Progress of a run in the terminal: a line per validation."""

from __future__ import annotations

from pathlib import Path

from sweeps.scores import validations
from utils.text_table import figure


class ShownValidations:
    """The validations of a run that have been printed so far.

    Args:
        folder: The run folder.
        metric: The metric to print.
    """

    def __init__(self, folder: Path, metric: str) -> None:
        self.folder = folder
        self.metric = metric
        self.values: list[float] = []

    def update(self) -> bool:
        """Print those that have come since the last call, and return whether there are any."""
        found = validations(self.folder, self.metric)
        new = found[len(self.values) :]
        for each in new:
            print(f"  epoch {each.epochs}: {self.metric} {figure(each.scores[self.metric])}", flush=True)
        if new:
            self.values = [each.scores[self.metric] for each in found]
        return bool(new)
