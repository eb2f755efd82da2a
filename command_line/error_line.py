"""One-line form of an error, and whether its traceback is shown; `errors.py` and `mistakes.py` find the words."""

from __future__ import annotations

import os
import sys

from command_line.configs import is_on
from utils.error_text import text_of

PREFIX = "oneforall: error: "
DEBUG_VARIABLE = "ONEFORALL_DEBUG"


def print_error(error: BaseException | str) -> None:
    """Print an error or a message to stderr in one line."""
    message = text_of(error) if isinstance(error, BaseException) else " ".join(error.split())
    print(f"{PREFIX}{message}", file=sys.stderr, flush=True)


def wants_traceback(args: list[str]) -> bool:
    """Return whether an error of a command line is shown with its traceback."""
    return is_on(args, "--debug") or bool(os.environ.get(DEBUG_VARIABLE))
