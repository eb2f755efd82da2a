"""A comparison of runs as text for a terminal, and as a page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from reports.charts import side_by_side
from reports.comparison import UNKNOWN, Comparison
from reports.page import render
from utils.files import write_text
from utils.text_table import aligned

DOCTYPE = b"<!DOCTYPE html>"
"""The beginning of every page."""


def as_text(comparison: Comparison, width: int | None = None) -> Iterator[str]:
    """Yield the lines of a comparison: the runs, the groups of seeds, what differs in the configs.

    Args:
        comparison: The comparison.
        width: Width of the terminal in characters; None for no limit.
    """
    rows = [["run", *comparison.header], *([name, *cells] for name, cells in comparison.rows.items())]
    for group in comparison.groups:
        cells = [group.scores.get(column, "") for column in comparison.header]
        rows.append([f"mean of {len(group.runs)} seeds", *cells])
    yield from min(aligned(rows), aligned(list(zip(*rows, strict=True))), key=lambda lines: _excess(lines, width))
    for group in comparison.groups:
        yield f"seeds of one config: {', '.join(group.runs)} (mean ± sample standard deviation)"
    yield ""
    if not comparison.differences:
        known = all(run.config for run in comparison.runs.values())
        yield "the configs are the same" if known else "not every run has a config.yaml to compare"
        return
    yield "differences between the configs:"
    longest = max(map(len, comparison.differences)) + 2
    for field, values in comparison.differences.items():
        yield f"  {field:<{longest}}" + "; ".join(f"{value} ({', '.join(names)})" for value, names in values.items())


def _excess(lines: Sequence[str], width: int | None) -> int:
    """Return by how many columns lines are too wide."""
    return max(0, max(map(len, lines)) - width) if width else 0


def write_page(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write a comparison as a page, with the curves of all runs in the same charts."""
    charts = side_by_side({name: run.columns for name, run in comparison.runs.items()})
    links = {name: _link(run.folder, Path(path).parent) for name, run in comparison.runs.items()}
    write_text(
        path,
        render(
            "compare.html",
            comparison=comparison,
            unknown=UNKNOWN,
            links=links,
            charts=[chart.plain() for chart in charts],
        ),
    )


def require_page(path: Path) -> None:
    """Raise OSError if there is something other than a page, or nothing yet, where a page is to be written."""
    if path.is_dir():
        raise IsADirectoryError(f"--output {path} is a folder: specify a file in it, such as compare.html")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(DOCTYPE)) not in (DOCTYPE, b""):
                raise FileExistsError(
                    f"--output {path} exists and is not a page: choose another file, such as compare.html"
                )


def _link(folder: Path, beside: Path) -> str:
    """Return the address of a run's report, or of its folder, from a page in another folder."""
    target = folder / "report.html" if (folder / "report.html").is_file() else folder
    return quote(os.fsencode(Path(os.path.relpath(target, beside)).as_posix()))
