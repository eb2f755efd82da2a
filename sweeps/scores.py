"""The scores of a run, read from its folder, and their mean and spread over several runs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from callbacks.plots.metric_lines import read_rows
from callbacks.run.scores import overall_scores


class Monitor(NamedTuple):
    """The metric that chooses `best.ckpt`, and whether its best value is the maximum (`max`) or the minimum (`min`)."""

    metric: str
    mode: str


class Validation(NamedTuple):
    """The scores of a validation, and the number of epochs done by then."""

    epochs: int
    scores: dict[str, float]


def monitor_of(config: Mapping[str, Any]) -> Monitor:
    """Return the monitor that the resolved config of a run names."""
    return Monitor(config["checkpoint"]["monitor"], config["checkpoint"]["mode"])


def monitor_in(folder: Path) -> Monitor:
    """Return the monitor of the run in a folder."""
    return monitor_of(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))


def validations(folder: Path, metric: str) -> list[Validation]:
    """Return the validations in a run's `metrics.csv` that have a finite value of a metric, in their order."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    return [
        Validation(
            int(row.get("epoch", 0)) + 1, {name: value for name, value in row.items() if name.startswith("val/")}
        )
        for row in read_rows(path)
        if metric in row
    ]


def best(found: Iterable[Validation], monitor: Monitor) -> Validation | None:
    """Return the best validation, the first of equal ones, as `best.ckpt` does; None if there is none."""
    choose = max if monitor.mode == "max" else min
    return choose(found, key=lambda each: each.scores[monitor.metric], default=None)


def scores_of_test(folder: Path) -> dict[str, float]:
    """Return the figures in a run's `test_metrics.json`, without those per class."""
    path = folder / "test_metrics.json"
    return overall_scores(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def mean_and_spread(values: list[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (divisor n - 1), which a single value does not have."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
