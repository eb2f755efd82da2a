"""The console script: what needs no library is answered before they are imported, which takes seconds."""

from __future__ import annotations

import difflib
import signal
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from command_line.streams import mend_streams

PACKAGE = "one-for-all"
COMMANDS = {
    "fit": "train",
    "validate": "score on the validation data",
    "test": "score on the test data",
    "predict": "predict images or a text file",
}
"""The commands, and what each does."""

MEANT = {"train": "fit", "training": "fit", "run": "fit", "eval": "test", "evaluate": "test", "val": "validate"}
MEANT |= {"infer": "predict", "inference": "predict", "translate": "predict", "classify": "predict"}
"""Commands of other programs, and ours."""

EXAMPLE = "oneforall fit --config quickstart/images.yaml"


def main() -> None:
    """Run the command line."""
    mend_streams()
    answer_early(sys.argv[1:])
    earlier = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends them without a traceback
    program = import_module("cli")
    signal.signal(signal.SIGINT, earlier)
    program.main()


def answer_early(args: list[str]) -> None:
    """Print the version and exit, or exit with what is wrong with the command itself; return if nothing is.

    Raises:
        SystemExit: After an answer: 0 for the version, 2 for a mistake.
    """
    if args == ["--version"]:
        print(f"oneforall {program_version()}", flush=True)
        sys.exit(0)
    if mistake := mistake_in_command(args):
        print(f"oneforall: error: {mistake}", file=sys.stderr, flush=True)
        sys.exit(2)


def program_version() -> str:
    """Return the version of the installed package."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "(not installed)"


def mistake_in_command(args: list[str]) -> str | None:
    """Return what is wrong with the command, the first word of a command line; None if nothing is."""
    listed = ", ".join(f"{name} ({what})" for name, what in COMMANDS.items())
    if not args:
        return f"a command is missing; commands are {listed}; for example: {EXAMPLE}"
    if args[0] in COMMANDS or args[0].startswith(("-h", "--help", "--print_shtab")):
        return None
    if args[0].startswith("-"):
        return f"the command comes first, before {args[0]}; commands are {listed}; for example: {EXAMPLE}"
    near = MEANT.get(args[0]) or next(iter(difflib.get_close_matches(args[0], COMMANDS, 1)), None)
    meant = f"did you mean {near}? " if near else ""
    return f"there is no command {args[0]}; {meant}commands are {listed}"
