"""Errors that a user can mend, explained in one line that says what to do."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from command_line.configs import given_configs, read_config, with_found_configs
from command_line.jsonargparse_messages import is_report, misspelt_names, objections
from command_line.parser import ParserError

EXTRAS = ("wandb", "tensorboard")
"""Packages that only some need, and the extras of the same name that bring them."""

_MISSING = re.compile(r"(?:No module named '|Requirement '|Neither `)(\w+)")

USER_ERRORS = (ValueError, OSError, MisconfigurationException)


def user_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a user can mend; W&B's (no login, no network) too, where a logger has imported it."""
    theirs = getattr(sys.modules.get("wandb"), "Error", None)
    return (*USER_ERRORS, theirs) if theirs else USER_ERRORS


def explain(error: BaseException, args: list[str], packages: Sequence[str]) -> str:
    """Return an error as one line: what is wrong and, for a misspelt name, the nearest one and the file that has it.

    Args:
        error: One of `user_errors`.
        args: The command line.
        packages: Names of the packages whose classes a config may name.
    """
    message = str(error) or type(error).__name__
    missing = _MISSING.search(message)
    if missing and missing[1] in EXTRAS:
        return f"{missing[1]} is not installed; pip install 'one-for-all[{missing[1]}]'"
    if is_report(message):
        message = objections(message)
    if not isinstance(error, USER_ERRORS):
        message = f"wandb: {message}; run `wandb login` once, or add --config configs/logger/wandb_offline.yaml"
    if isinstance(error, ParserError):
        message += suggestion(message, error.parser, args, packages)
    return " ".join(message.split())


def suggestion(message: str, parser: LightningArgumentParser, args: list[str], packages: Sequence[str]) -> str:
    """Return ` (in FILE); did you mean X?` for the first name in the message that is like one that exists."""
    known = known_names(parser, packages)
    configs = [Path(path) for path in given_configs(with_found_configs(args))]
    for name in misspelt_names(message):
        last = name.rsplit(".", 1)[-1]
        files = [path for path in configs if mentions(read_config(path), last)]
        where = f" (in {files[-1]})" if files else ""
        near = difflib.get_close_matches(name, known, 1, 0.7) or difflib.get_close_matches(last, known, 1, 0.7)
        if near:
            return f"{where}; did you mean {near[0]}?"
        if where:
            return where
    return "; `oneforall fit --help` lists what there is"


def mentions(config: Any, name: str) -> bool:
    """Return whether `name` occurs anywhere in a config, as a key or as a value."""
    if isinstance(config, dict):
        return any(key == name or mentions(value, name) for key, value in config.items())
    if isinstance(config, list):
        return any(mentions(value, name) for value in config)
    return bool(config == name)


def known_names(parser: LightningArgumentParser, packages: Sequence[str]) -> list[str]:
    """Return every option of the parser and its subcommands, and every class with the names of its parameters."""
    names = set()
    for action in parser._actions:
        names |= {action.dest, action.dest.rsplit(".", 1)[-1]}
        for subparser in action.choices.values() if isinstance(action.choices, dict) else []:
            names |= set(known_names(subparser, packages))
    for module_name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        for name, value in inspect.getmembers(sys.modules[module_name], inspect.isclass):
            if value.__module__ == module_name and not issubclass(value, BaseException):
                names |= {name, *inspect.signature(value.__init__).parameters}
    return sorted(names)
