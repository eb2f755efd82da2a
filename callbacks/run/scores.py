"""The scores of a run: the best and the last of its validations, and those of its test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.plots.metric_lines import read_columns

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
    scores = {}
    for column, (epochs, values) in read_columns(metrics_csv).items():
        if column.startswith("val/"):
            best = min(values) if any(word in column for word in LOWER_IS_BETTER) else max(values)
            scores[column] = Score(values[-1], best, epochs[values.index(best)])
    return scores


def overall_scores(test_metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores in a `test_metrics.json` that are of the whole test, not of one class."""
    return {
        name: float(value)
        for name, value in test_metrics.items()
        if name.startswith("test/") and name.count("/") == 1 and isinstance(value, int | float)
    }
