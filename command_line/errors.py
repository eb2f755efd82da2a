"""Errors that a user can fix, explained in one line that says what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from lightning.fabric.utilities.exceptions import MisconfigurationException

from command_line.classes import explain_class
from command_line.jsonargparse_messages import (
    is_report,
    loose_arguments,
    objections,
    required,
    unknown_class,
    unknown_option,
    without_class,
)
from command_line.mistakes import explain_loose, without_config
from command_line.options import class_fields, command_parser, explain_option, names_no_class
from command_line.parser import ParserError
from command_line.parser_reports import Report, report_of
from command_line.sources import Sources
from utils.error_text import text_of

EXTRAS = ("wandb", "tensorboard")
"""Optional packages, each installed by the extra of the same name."""

_IMPORT = re.compile(r"has no attribute '|No module named '")
_VALUELESS = re.compile(r"argument (\S+): expected one argument")
_MISSING = re.compile(r"(?:No module named '|Requirement '|Neither `)(\w+)")

USER_ERRORS = (ValueError, OSError, MisconfigurationException)


def user_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a user can fix, with W&B's (no login, no network) where a logger has imported it."""
    theirs = getattr(sys.modules.get("wandb"), "Error", None)
    return (*USER_ERRORS, theirs) if theirs else USER_ERRORS


def explain(error: BaseException, args: list[str], packages: Sequence[str]) -> str:
    """Return an error as one line: what is wrong and, for a misspelt name, the nearest one and the file that has it.

    Args:
        error: One of `user_errors`.
        args: The command line.
        packages: Names of the packages whose classes a config may name.
    """
    message = text_of(error) or type(error).__name__
    missing = _MISSING.search(message)
    if missing and missing[1] in EXTRAS:
        return f"{missing[1]} is not installed; pip install 'one-for-all[{missing[1]}]'"
    if isinstance(error, ParserError):
        message = explain_parser(error, args, packages)
    elif is_report(message):
        message = objections(str(error))  # which has a line per objection
    elif not isinstance(error, USER_ERRORS):
        message = f"wandb: {message}; run `wandb login` once, or add --config configs/logger/wandb_offline.yaml"
    return " ".join(message.split())


def explain_parser(error: ParserError, args: list[str], packages: Sequence[str]) -> str:
    """Return an error of the parser as text: what is wrong, where, and what to write instead."""
    report, sources = report_of(error), Sources(args)
    parser = command_parser(error.parser, args[0] if args else "")
    if missing := required(report.objection):
        return explain_missing(missing, report, args)
    if name := unknown_class(report.objection) or (_IMPORT.search(report.objection) and unknown_class(report.message)):
        what = explain_class(name, report.typehint, class_fields(parser), packages)
        return f"{report.path}{sources.where(name)}: {what}" if report.path else what
    if loose := loose_arguments(report.objection):
        return explain_loose(loose, args[0])
    if name := unknown_option(report.objection):
        return explain_option(name, report, parser, sources)
    if without_class(report.objection):
        return names_no_class(report.path, report.typehint, sources)
    if is_report(report.message):
        return f"{report.path}{sources.where(report.path)}: {objections(report.message)}"
    if valueless := _VALUELESS.match(report.objection):
        return f"{valueless[1]} needs a value"
    return report.objection


def explain_missing(missing: list[str], report: Report, args: list[str]) -> str:
    """Return what a command or a class lacks, and how to give it."""
    cls = getattr(report.parser, "described", None)
    if report.path and cls is not None:
        flags = " and ".join(f"--{report.path}.{name}" for name in missing)
        them = "them" if len(missing) > 1 else "it"
        return f"{report.path}: {cls.__name__} needs {', '.join(missing)}; pass {flags}, or a config that sets {them}"
    command = args[0] if args else "fit"
    return without_config(command, sorted({name.removeprefix(f"{command}.") for name in missing}, reverse=True))
