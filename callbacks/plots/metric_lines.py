"""Curves of a run's metrics over its epochs, read from `metrics.csv` with the standard library only."""

import csv
import math
from collections import defaultdict
from collections.abc import Container, Iterator
from pathlib import Path

MAX_LINE = 100_000
"""Number of characters from which a line cannot be a row of metrics; `csv` refuses fields of more than 131,072."""
MAX_PANELS = 12
FIRST_PANELS = ("loss", "accuracy", "learning rate")

Line = tuple[list[float], list[float]]
"""Epochs done, values."""

Panels = dict[str, dict[str, Line]]
"""Lines by panel and label."""


def read_rows(metrics_csv: Path) -> Iterator[dict[str, float]]:
    """Yield the finite numbers in each row of a `metrics.csv`, by column.

    Garbage that a power cut or a killed process left is skipped.
    """
    with metrics_csv.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(line for line in file if len(line) < MAX_LINE):
            numbers = {column: _number(text) for column, text in row.items()}
            yield {column: number for column, number in numbers.items() if number is not None}


def read_columns(metrics_csv: Path) -> dict[str, Line]:
    """Return the line of each metric in a `metrics.csv`, read by `read_rows`.

    Several values within an epoch are spread evenly over it, so that the last one is at its end.

    Args:
        metrics_csv: A file with columns `epoch`, `step` and metrics, with blanks where nothing was logged.
    """
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read_rows(metrics_csv):
        if "epoch" not in row:
            continue
        for column, value in row.items():
            if column not in ("epoch", "step"):
                values[column][int(row["epoch"])].append(value)

    columns: dict[str, Line] = {}
    for column, by_epoch in values.items():
        line: Line = ([], [])
        for epoch, those in sorted(by_epoch.items()):
            line[0].extend(epoch + (place + 1) / len(those) for place in range(len(those)))
            line[1].extend(those)
        columns[column] = line
    return columns


def read_panels(metrics_csv: Path) -> Panels:
    """Return the lines of `read_columns` by panel and label.

    Test metrics are left out, and so are a metric's values per step if there are values per epoch.

    Args:
        metrics_csv: A file as for `read_columns`.
    """
    columns = read_columns(metrics_csv)
    panels: Panels = defaultdict(dict)
    for column, line in columns.items():
        if column.startswith("test/") or _is_per_step(column, columns):
            continue
        panel, label = _panel_and_label(column)
        panels[panel][label] = line
    order = [name for name in FIRST_PANELS if name in panels] + [name for name in panels if name not in FIRST_PANELS]
    return {name: dict(sorted(panels[name].items())) for name in order[:MAX_PANELS]}


def spans_decades(values: list[float], name: str) -> bool:
    """Return whether a logarithmic axis shows more: the lowest fifth of the values is 20 times below the maximum.

    That of a cosine schedule is not. Fractions, such as accuracy, stay linear.
    """
    if min(values) <= 0 or max(values) < 20 * sorted(values)[len(values) // 5]:
        return False
    return name == "learning rate" or max(values) > 1


def _is_per_step(column: str, columns: Container[str]) -> bool:
    name = column.removesuffix("_step")
    return name != column and (name in columns or f"{name}_epoch" in columns)


def _panel_and_label(column: str) -> tuple[str, str]:
    name = column.removesuffix("_epoch").removesuffix("_step")
    if name == "lr" or name.startswith("lr-"):
        return "learning rate", name
    stage, slash, rest = name.partition("/")
    if stage == "grad_norm":  # one panel for all parts
        return "gradient norm", rest or "total"
    return (rest, stage) if slash else (name, name)


def _number(text: object) -> float | None:
    """Return the finite number in a cell; None for a blank, NaN and what a killed process left half-written."""
    if not isinstance(text, str):  # None in a row with too few cells, a list in one with too many
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
