"""The published runs: a folder of `results/` for each.

A folder has what `scripts.results.collect` has copied from a run folder:

    run.json                   what the run was (`callbacks/run/summary.py`), and where it is shown:
        table, row             the table of RESULTS.md, and its row; runs of one row differ in their seeds
        data                   which copy of the data it was trained and tested on
        outdated               why the row waits for its re-run; absent if it does not
        note                   anything else to know
    config.yaml, metrics.csv   as the run wrote them
    test_metrics.json          its test
    test_metrics_NAME.json     tests on other data
    moses_bleu.json            the output of `scripts.moses_bleu`
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callbacks.plots.metric_lines import Line, read_columns

RESULTS = Path(__file__).parents[2] / "results"


@dataclass(frozen=True)
class Run:
    """A published run.

    Args:
        name: Its folder in `results/`.
        record: What `run.json` holds.
        lines: The metrics of `metrics.csv` over the completed epochs.
        figures: The other JSON files of the folder by their names without `.json`.
    """

    name: str
    record: dict[str, Any]
    lines: dict[str, Line]
    figures: dict[str, dict[str, Any]]

    @property
    def minutes(self) -> float:
        """Time of training and validation."""
        return float(self.record["seconds"]) / 60

    def figure(self, file: str, metric: str) -> float | None:
        """Return a figure of one of the JSON files; None if the run has no such figure."""
        value = self.figures.get(file, {}).get(metric)
        return None if value is None else float(value)

    def last(self, metric: str) -> float | None:
        """Return the last value of a metric in `metrics.csv`."""
        return self.lines[metric][1][-1] if metric in self.lines else None

    def best(self, metric: str) -> float | None:
        """Return the largest value of a metric in `metrics.csv`."""
        return max(self.lines[metric][1]) if metric in self.lines else None

    def minutes_after(self, epochs: Iterable[float]) -> list[float]:
        """Return the time after each of these completed epochs.

        A run from before times were recorded is assumed to have spent the same time on each epoch.
        """
        times = {int(epoch): seconds / 60 for epoch, seconds in self.record.get("epoch_seconds", {}).items()}
        even = self.minutes / self.record["epochs"]
        return [times.get(int(epoch), epoch * even) for epoch in epochs]


def read_runs(results: Path = RESULTS) -> list[Run]:
    """Return all published runs, by the names of their folders.

    Raises:
        ValueError: A `run.json` lacks a field.
    """
    return [read_run(path.parent) for path in sorted(results.glob("*/run.json"))]


def read_run(folder: Path) -> Run:
    """Return a published run.

    Raises:
        ValueError: Its `run.json` lacks a field.
    """
    figures = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    record = figures.pop("run")
    needed = ("table", "row", "seed", "data", "command", "commits", "epochs", "seconds", "hardware", "versions")
    if missing := [key for key in needed if key not in record]:
        raise ValueError(
            f"{folder / 'run.json'} has no {', '.join(missing)}; `python -m scripts.results.collect` adds it"
        )
    return Run(folder.name, record, read_columns(folder / "metrics.csv"), figures)


def rows_of(table: str, runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return the runs of a table by the row they belong to, in the order of their seeds."""
    rows: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.record["seed"]):
        if run.record["table"] == table:
            rows.setdefault(run.record["row"], []).append(run)
    return rows
