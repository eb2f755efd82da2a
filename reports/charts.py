"""Interactive charts as plain data, which `charts.js` draws with Plotly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from callbacks.plots.metric_lines import Line, Panels, spans_decades
from callbacks.run.throughput_file import Row

MAX_POINTS = 1000
"""Maximum number of points of a line."""
MAX_BARS = 24
"""Maximum number of bars of a histogram of lengths."""

Kind = Literal["line", "bars", "points"]


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        label: Its name.
        x, y: Its points, from left to right.
        kind: How it is drawn.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    kind: Kind = "line"


class Chart(NamedTuple):
    """A chart.

    Attributes:
        title: What it shows.
        x: Label of the horizontal axis.
        series: Its lines.
        log: Whether the vertical axis is logarithmic.
    """

    title: str
    x: str
    series: Sequence[Series]
    log: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the chart as plain values for JSON: six digits, at most `MAX_POINTS` points per line."""
        return {**self._asdict(), "series": [_plain(series) for series in self.series]}


def _plain(series: Series) -> dict[str, Any]:
    places = thinned(len(series.x), MAX_POINTS)
    x, y = ([_few_digits(values[place]) for place in places] for values in (series.x, series.y))
    return {"label": series.label, "x": x, "y": y, "kind": series.kind}


def thinned(count: int, maximum: int) -> list[int]:
    """Return at most `maximum` (at least 2) of 0 ... count - 1, evenly spaced, including the first and the last."""
    if count <= maximum:
        return list(range(count))
    return [round(place * (count - 1) / (maximum - 1)) for place in range(maximum)]


def _few_digits(value: float) -> float:
    return float(f"{value:.6g}")


def metric_charts(panels: Panels) -> list[Chart]:
    """Return a chart per panel of metrics."""
    return [_over_epochs(name, lines) for name, lines in panels.items()]


def _over_epochs(name: str, lines: Mapping[str, Line]) -> Chart:
    """Return the chart of a panel or a metric over the epochs, with a line per label."""
    log = spans_decades([value for _, values in lines.values() for value in values], name)
    series = [Series(label, *line) for label, line in lines.items()]
    return Chart(name.replace("_", " "), "completed epochs", series, log)


def throughput_chart(unit: str, rows: Sequence[Row]) -> Chart:
    """Return the chart of examples per second, a point per epoch.

    Args:
        unit: Name of the examples, such as `images`.
        rows: Epoch, seconds and examples of each epoch.
    """
    timed = [(epoch, examples / seconds) for epoch, seconds, examples in rows if seconds > 0]
    series = Series("training", [epoch for epoch, _ in timed], [rate for _, rate in timed])
    return Chart(f"throughput, {unit} per second", "completed epochs", [series])


def reliability_chart(bins: Sequence[Mapping[str, float]]) -> Chart:
    """Return the chart of accuracy over confidence (Guo et al. 2017, arXiv:1706.04599, figure 1), a point per bin."""
    x = [each["confidence"] for each in bins]
    y = [each["correct"] / each["examples"] for each in bins]
    diagonal = Series("perfectly calibrated", [0, 1], [0, 1])
    return Chart("accuracy over confidence", "mean confidence", [Series("accuracy", x, y, "points"), diagonal])


def confidence_chart(bins: Sequence[Mapping[str, float]]) -> Chart:
    """Return the histogram of the predictions over confidence, empty bins included."""
    from utils.confidence_bins import BINS  # imports torch, which a comparison of runs does without

    counts = [0.0] * BINS
    for each in bins:
        counts[min(int(each["confidence"] * BINS), BINS - 1)] += each["examples"]
    middles = [(place + 0.5) / BINS for place in range(BINS)]
    return Chart("predictions by confidence", "confidence", [Series("predictions", middles, counts, "bars")])


def calibration_error(bins: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error, from 0 to 1."""
    gaps = [abs(each["correct"] - each["confidence"] * each["examples"]) for each in bins]
    return math.fsum(gaps) / sum(each["examples"] for each in bins)


def length_chart(unit: str, lengths: Mapping[str, Sequence[int]]) -> Chart:
    """Return the histogram of the lengths of texts.

    Args:
        unit: Unit of a length, such as `words`.
        lengths: Lengths by label; at least one.
    """
    longest = max(length for each in lengths.values() for length in each)
    width = max(1, -(-(longest + 1) // MAX_BARS))
    series = []
    for label, values in lengths.items():
        counts = [0] * (longest // width + 1)
        for length in values:
            counts[length // width] += 1
        middles = [place * width + (width - 1) / 2 for place in range(len(counts))]
        series.append(Series(label, middles, counts))
    return Chart("texts by length", f"length in {unit}", series)


def side_by_side(runs: Mapping[str, Mapping[str, Line]]) -> list[Chart]:
    """Return a chart for each metric of training and validation that any of several runs logged, with a line per run.

    Args:
        runs: The line of each metric, by the name of the run.
    """
    metrics = dict.fromkeys(metric for columns in runs.values() for metric in columns if not metric.startswith("test/"))
    return [
        _over_epochs(metric, {name: columns[metric] for name, columns in runs.items() if metric in columns})
        for metric in sorted(metrics, key=lambda metric: (not metric.startswith("val/"), metric))
    ]
