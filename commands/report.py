"""Write report.html into a run folder: the run on one page, for any browser, without a network.

It shows what was run and where, curves, validation and test, and says how to get what is missing.
`fit` and `test` write it at their end unless they are given --report false.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from command_line.paths import path_argument

EXAMPLES = ("oneforall report runs/resnet20",)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the run folder."""
    parser.add_argument("run", type=path_argument, metavar="RUN", help="the run folder, such as runs/resnet20")


def run(options: Namespace) -> None:
    """Write the page, and print where it is.

    Raises:
        FileNotFoundError: It is not a run folder.
        ValueError: A file in it is damaged, or the extra `report` is not installed.
    """
    from reports.run_report import write_report

    print(write_report(options.run))
