"""The scores of a run: the best and the last of its validations, and those of its test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.plots.metric_lines import Line, read_columns

LOWER_IS_BETTER = ("loss", "error", "perplexity", "bits_per_character")


class Score(NamedTuple):
    """A validation metric over a run.

    Attributes:
        last: Its last value.
        best: Its best value.
        best_epoch: Epochs done when it was best.
    """

    last: float
    best: float
    best_epoch: float


def validation_scores(metrics_csv: Path) -> dict[str, Score]:
    """Return the scores of each `val/...` column of a `metrics.csv`."""
    columns = read_columns(metrics_csv)
    return {name: score_of(line, lower_is_better(name)) for name, line in columns.items() if name.startswith("val/")}


def lower_is_better(metric: str) -> bool:
    """Return whether lower values of a metric are better, judging by its name."""
    return any(word in metric for word in LOWER_IS_BETTER)


def score_of(line: Line, lowest: bool) -> Score:
    """Return the score of a metric.

    Args:
        line: The values of the metric; at least one.
        lowest: Whether the lowest value is the best, not the highest.
    """
    epochs, values = line
    best = min(values) if lowest else max(values)
    return Score(values[-1], best, epochs[values.index(best)])


def overall_scores(test_metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores in a `test_metrics.json` that cover the whole test, not a single class."""
    return {
        name: float(value)
        for name, value in test_metrics.items()
        if name.startswith("test/") and name.count("/") == 1 and isinstance(value, int | float)
    }
