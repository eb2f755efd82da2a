"""The console script: what needs no library is answered before they are imported, which takes seconds."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from command_line.completion import completion_script, shell_asked_for
from command_line.help_pages import page_asked_for
from command_line.mistakes import mistake_in
from command_line.streams import mend_streams
from command_line.tools import TOOLS, run_tool

PACKAGE = "one-for-all"


def main() -> None:
    """Run the command line."""
    mend_streams()
    answer_early(sys.argv[1:])
    if sys.argv[1] in TOOLS:
        sys.exit(run_tool(sys.argv[1:]))
    earlier = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends them without a traceback
    program = import_module("cli")
    signal.signal(signal.SIGINT, earlier)
    program.main()


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
        print(f"oneforall: error: {mistake}", file=sys.stderr, flush=True)
        sys.exit(2)


def program_version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version  # takes a tenth of what an answer may take

    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "(not installed)"
