"""Compare runs: scores, epochs, time and size, mean and spread over seeds, and what differs in their configs.

Runs whose configs differ only in the seed are a group, with mean and sample standard deviation of their scores.
"""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from command_line.paths import path_argument

EXAMPLES = (
    "oneforall compare runs/resnet20 runs/resnet20-2",
    "oneforall compare runs/* --output compare.html",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the run folders, and the page."""
    parser.add_argument(
        "runs", nargs="+", type=path_argument, metavar="RUN", help="a run folder, such as runs/resnet20, or a sweep's"
    )
    parser.add_argument(
        "--output", type=path_argument, metavar="FILE", help="also write a page with the curves side by side"
    )


def run(options: Namespace) -> None:
    """Print the table, and write the page if it is asked for.

    Raises:
        FileNotFoundError: One of the folders is not a run folder.
        FileExistsError: The page would replace something that is not a page.
        ValueError: A file in one is damaged, only one run is named, or a page needs the extra `report`.
    """
    from reports.comparison import compare
    from reports.comparison_page import as_text, require_page, write_page
    from sweeps.sweep import trials_in

    runs: dict[Path, str] = {}  # each folder once, however it is spelled
    for folder in options.runs:
        trials = trials_in(Path(folder))
        for run in [folder] if trials is None else map(str, trials):
            runs.setdefault(Path(run).resolve(), run)
    if len(runs) < 2:
        raise ValueError(f"specify at least two different runs to compare, such as {options.runs[0]} runs/other")
    if options.output is not None:
        require_page(Path(options.output))
    comparison = compare(list(runs.values()))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # elsewhere a line per run
    print(*as_text(comparison, width), sep="\n")
    if options.output is not None:
        write_page(comparison, options.output)
        print(f"\n{options.output}")
