"""The plots of RESULTS.md, from the published runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scripts.results.runs import Run, rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_against_cost(runs: Sequence[Run]) -> Figure:
    """Plot test accuracy against multiply-adds: a filled marker for the copy, an open one for the original images."""
    figure, axes = _figure("multiply-adds per 32x32 image (millions)", "test accuracy without TTA (%)")
    for place, run in enumerate(run for table in ("cifar10", "equal_time") for run in _images(table, runs)):
        cost = run.record["multiply_adds"] / 1e6
        for file, style in (("test_metrics", "full"), ("test_metrics_originals", "none")):
            if (accuracy := run.figure(file, "test/accuracy")) is not None:
                axes.plot(cost, 100 * accuracy, "o", color=f"C{place}", markersize=8, fillstyle=style)
                if style == "full":
                    axes.annotate(run.record["row"], (cost, 100 * accuracy), (7, -4), textcoords="offset points")
    axes.plot([], [], "ko", label="test set, JPEG-75 copy")
    axes.plot([], [], "ko", fillstyle="none", label="1,017 originals")
    axes.margins(x=0.22)
    axes.set_title("CIFAR-10 on two CPU cores")
    axes.legend()
    return figure


def accuracy_against_time(runs: Sequence[Run]) -> Figure:
    """Plot validation accuracy over the time of training, a colour for each network."""
    figure, axes = _figure("minutes of training and validation", "validation accuracy (%)")
    for place, (row, its_runs) in enumerate(rows_of("equal_time", runs).items()):
        for run in its_runs:
            epochs, values = run.lines["val/accuracy"]
            label = row if run is its_runs[0] else None
            times, shares = run.minutes_after(epochs), [100 * value for value in values]
            axes.plot(times, shares, marker=".", color=f"C{place}", label=label)
    axes.set_title("CIFAR-10 on two CPU cores, a short training of each network")
    axes.legend(loc="lower right")
    return figure


def bleu_over_epochs(runs: Sequence[Run]) -> Figure:
    """Plot the BLEU of the greedy validation over the epochs, a colour for each pair of languages."""
    figure, axes = _figure("completed epochs", "validation BLEU (greedy)")
    for place, (row, its_runs) in enumerate(rows_of("multi30k", runs).items()):
        for run in its_runs:
            label = row if run is its_runs[0] else None
            axes.plot(*run.lines["val/bleu"], marker=".", color=f"C{place}", label=label)
    axes.set_title("Multi30k")
    axes.legend(loc="lower right")
    return figure


PLOTS = {
    "cifar10_cpu.png": accuracy_against_cost,
    "cifar10_time.png": accuracy_against_time,
    "multi30k_bleu.png": bleu_over_epochs,
}
"""The files in `results/`, and what draws them."""


def _images(table: str, runs: Sequence[Run]) -> list[Run]:
    return [run for row in rows_of(table, runs).values() for run in row]


def _figure(x: str, y: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes
