"""Console script: what needs no library is answered before libraries are imported, which takes seconds."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import NamedTuple

from command_line.completion import completion_script, shell_asked_for
from command_line.configs import option_values
from command_line.error_line import print_error
from command_line.help_pages import help_option, page_asked_for
from command_line.memory import use_huge_pages
from command_line.mistakes import mistake_in
from command_line.streams import mend_streams
from command_line.tools import TOOLS, run_tool
from command_line.utf8 import use_utf8

PACKAGE = "one-for-all"


class Series(NamedTuple):
    """A flag that makes a command several runs: the module that makes them, and a value of the flag."""

    module: str
    example: str


SERIES = {
    "--seeds": Series("sweeps.seeds", "0..4"),
    "--batch_sizes": Series("sweeps.batch_sizes", "64..1024"),
}
"""Flags of `fit` (and `--seeds` of `test`) that the parser does not know."""


def main() -> None:
    """Run the command line."""
    mend_streams()
    use_huge_pages()
    if is_series(sys.argv[1:]):
        sys.exit(import_module("sweeps.series").run_series(sys.argv[1:]))
    answer_early(sys.argv[1:])
    if sys.argv[1] in TOOLS:
        sys.exit(run_tool(sys.argv[1:]))
    use_utf8()  # before the imports, which would otherwise run twice
    earlier = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends them without a traceback
    program = import_module("cli")
    signal.signal(signal.SIGINT, earlier)
    program.main()


def is_series(args: list[str]) -> bool:
    """Return whether a command line stands for several runs (`sweeps/series.py`)."""
    return args[:1] in (["fit"], ["test"]) and bool(option_values([*args, ""], *SERIES)) and not help_option(args)


def answer_early(args: list[str]) -> None:
    """Print the version, a help page or a completion script and exit, or exit with what is wrong; else return.

    Raises:
        SystemExit: After an answer: 0 for the version and a help page, 2 for a mistake.
    """
    answer = f"oneforall {program_version()}" if args == ["--version"] else page_asked_for(args)
    mistake = None
    if (shell := shell_asked_for(args)) is not None:
        try:
            answer = completion_script(shell)
        except ValueError as error:
            mistake = str(error)
    if answer is not None:
        print(answer, flush=True)
        sys.exit(0)
    if mistake := mistake or mistake_in(args):
        print_error(mistake)
        sys.exit(2)


def program_version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version  # takes a tenth of the time that an answer may take

    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "(not installed)"
