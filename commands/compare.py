"""Compare runs: scores, epochs, time and size, mean and spread over seeds, and what differs in their configs.

Runs whose configs differ in the seed alone are a group, with mean and sample standard deviation of their scores.
"""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser, Namespace

EXAMPLES = (
    "oneforall compare runs/resnet20 runs/resnet20-2",
    "oneforall compare runs/* --output compare.html",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the run folders, and the page."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, such as runs/resnet20")
    parser.add_argument("--output", metavar="FILE", help="also write a page with the curves side by side")


def run(options: Namespace) -> None:
    """Print the table, and write the page if it is asked for.

    Raises:
        FileNotFoundError: One of the folders is not a run folder.
        ValueError: A file in one is damaged, only one run is named, or a page needs the extra `report`.
    """
    from reports.comparison import compare
    from reports.comparison_page import as_text, write_page

    if len(set(options.runs)) < 2:
        raise ValueError(f"name at least two different runs to compare, such as {options.runs[0]} runs/other")
    comparison = compare(list(dict.fromkeys(options.runs)))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # elsewhere a line per run
    print(*as_text(comparison, width), sep="\n")
    if options.output:
        write_page(comparison, options.output)
        print(f"\n{options.output}")
