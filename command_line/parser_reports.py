"""Reports of parser errors, taken from jsonargparse's chain of exceptions: the field, and the objection itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from command_line.parser import ParserError

_KEY = re.compile(r'^Parser key "([^"]+)":')


@dataclass
class Report:
    """An error of the parser.

    Attributes:
        path: The field, such as `model.architecture`, without `init_args`; empty if the error concerns no single field.
        typehint: Type of the field; None where it is not known.
        message: What the innermost parser says about it.
        objection: What made that parser say so.
        parser: The innermost parser, which knows the options that the field has.
    """

    path: str
    typehint: Any
    message: str
    objection: str
    parser: LightningArgumentParser


def report_of(error: ParserError) -> Report:
    """Return the report of a parser error: each parser within another adds a part to the path of the field."""
    causes = list(_chain(error))
    errors = [cause for cause in causes if isinstance(cause, ParserError)]
    path: list[str] = []
    typehint: Any = None
    for each in errors:
        key = _KEY.match(str(each))
        if key:
            path.append(key[1])
            typehint = _typehint(each.parser, key[1])
    return Report(".".join(path), typehint, str(errors[-1]), str(causes[-1]), errors[-1].parser)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, and so on."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _typehint(parser: LightningArgumentParser, key: str) -> Any:
    return next((getattr(action, "_typehint", None) for action in parser._actions if action.dest == key), None)
