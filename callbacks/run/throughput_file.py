"""throughput.csv: how fast each epoch trained."""

import csv
from collections.abc import Iterable
from pathlib import Path

from utils.files import write_lines

Row = tuple[int, float, int]
"""Epochs done, seconds of training without validation, examples of all processes."""


def read_throughput(path: Path) -> tuple[str, list[Row]]:
    """Return what the examples of a `throughput.csv` are called, and its rows; no rows without a file.

    Damaged lines are skipped.
    """
    if not path.is_file():
        return "examples", []
    rows = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        for cells in reader:
            try:
                rows.append((int(cells[0]), float(cells[1]), int(cells[2])))
            except (ValueError, IndexError):
                continue
    return header[2] if len(header) > 2 else "examples", rows


def write_throughput(path: Path, unit: str, rows: Iterable[Row]) -> None:
    """Write a `throughput.csv`.

    Args:
        path: The file.
        unit: What the examples are called.
        rows: Its rows.
    """
    lines = [f"{epoch},{seconds:.3f},{examples}" for epoch, seconds, examples in rows]
    write_lines(path, [f"epoch,seconds,{unit}", *lines])
