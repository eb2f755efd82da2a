"""Commands without a Trainer, such as `oneforall configs`: `commands/` has a file for each, with argparse's options."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import sys
import textwrap
import traceback
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from command_line.error_line import print_error, wants_traceback
from utils.error_text import NO_MEMORY, first_sentence
from utils.files import naming_full_disk

TOOLS = {
    "classify": "classify images",
    "translate": "translate texts, line by line",
    "export": "write a model as ONNX, torch.export, Hugging Face or CTranslate2",
    "report": "write report.html, a one-page report of a run",
    "compare": "compare runs: scores, seeds, differing settings",
    "sweep": "search for the best training settings",
    "configs": "list the shipped configs",
}
"""The commands, and what each does."""


class HelpPage(argparse.RawDescriptionHelpFormatter):
    """Wraps the paragraphs of a description to the terminal; what is indented stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            each if "\n  " in f"\n{each}" else textwrap.fill(each, width, break_on_hyphens=False) for each in paragraphs
        )


class Arguments(argparse.ArgumentParser):
    """An argparse parser that reports a mistake in one line, as the rest of the command line does."""

    def error(self, message: str) -> NoReturn:
        """Exit with what is wrong and where the help is."""
        print_error(f"{message}; `{self.prog} --help` explains it")
        self.exit(2)


def parser_of(name: str) -> Arguments:
    """Return the parser of a command."""
    tool = import_module(f"commands.{name}")
    parser = Arguments(
        prog=f"oneforall {name}",
        description=inspect.getdoc(tool),
        epilog="\n".join(["for example:", *(f"  {example}" for example in tool.EXAMPLES)]),
        formatter_class=HelpPage,
        allow_abbrev=False,
    )
    tool.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run_tool(args: list[str]) -> int:
    """Run a command and return its exit code: 2 for what a user can fix, which is explained in one line.

    Args:
        args: The command line, whose first word is a command of `TOOLS`.

    Raises:
        SystemExit: After a help page, or a mistake that the parser found.
    """
    tool: ModuleType = import_module(f"commands.{args[0]}")
    parser = parser_of(args[0])
    options, unknown = parser.parse_known_args(args[1:])
    options.flags = unknown
    if unknown and not getattr(tool, "TAKES_FLAGS_OF_FIT", False):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        with naming_full_disk("standard output"):
            tool.run(options)
            sys.stdout.flush()
    except BrokenPipeError:  # such as `| head`: nobody reads on, and Python would complain when it flushes at its end
        _write_nowhere()
    except KeyboardInterrupt:
        return 130
    except (MemoryError, RuntimeError) as error:
        if wants_traceback(args) or not (isinstance(error, MemoryError) or NO_MEMORY.search(str(error))):
            raise
        print_error(f"out of memory: {first_sentence(error)}")
        return 1
    except (ValueError, OSError) as error:
        if wants_traceback(args):
            traceback.print_exc()
        print_error(error)
        try:
            sys.stdout.flush()
        except OSError:  # it is full, and Python would complain at its end
            _write_nowhere()
        return 2
    return 0


def _write_nowhere() -> None:
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
