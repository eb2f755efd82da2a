"""The options of a command and of the classes that its config names; the explanation of one that does not exist."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from command_line.classes import MOST_LISTED, bases_of, known_classes, nearest, subclasses
from command_line.parser import Parser
from command_line.parser_reports import Report
from command_line.sources import Sources

DEPTH = 2
"""Depth of the classes whose arguments are searched: that of `model.architecture.depth`."""


def command_parser(parser: LightningArgumentParser, command: str) -> LightningArgumentParser:
    """Return the parser of a command, found in the parser above it, or the parser itself."""
    for action in parser._actions:
        if isinstance(action.choices, dict) and command in action.choices:
            found: LightningArgumentParser = action.choices[command]
            return found
    return parser


def fields_of(parser: LightningArgumentParser) -> dict[str, Any]:
    """Return the options of a parser with their types; None for an option without one."""
    skipped = ("help", "config", "print_config", "subcommand", "base")
    return {
        action.dest: getattr(action, "_typehint", None)
        for action in parser._actions
        if action.dest not in skipped and not action.dest.endswith(".help")
    }


@cache
def arguments(cls: type) -> dict[str, Any]:
    """Return the arguments of a class with their types, as a config may set them; none if they cannot be found out."""
    parser = Parser(exit_on_error=False)
    try:
        parser.add_class_arguments(cls, fail_untyped=False)
    except Exception:  # a config cannot name such a class
        return {}
    return fields_of(parser)


def class_fields(parser: LightningArgumentParser) -> dict[str, Any]:
    """Return the fields of a command that take a class, and those of its model: where a class may belong."""
    fields = {name: type_ for name, type_ in fields_of(parser).items() if type_ is not None and bases_of(type_)}
    inner = {
        f"{name}.{argument}": type_
        for name in ("model", "data")
        if name in fields
        for cls in subclasses(fields[name])
        for argument, type_ in arguments(cls).items()
        if type_ is not None and bases_of(type_)
    }
    return {**fields, **inner}


def nested_options(prefix: str, typehint: Any, depth: int = DEPTH) -> list[str]:
    """Return the options below a field that takes a class, for all classes that it takes."""
    names: dict[str, None] = {}
    for cls in subclasses(typehint) if typehint is not None else []:
        for argument, type_ in arguments(cls).items():
            names[f"{prefix}.{argument}"] = None
            if depth > 1 and type_ is not None:
                names |= dict.fromkeys(nested_options(f"{prefix}.{argument}", type_, depth - 1))
    return list(names)


def explain_option(name: str, report: Report, parser: LightningArgumentParser, sources: Sources) -> str:
    """Return what is wrong with an option that does not exist, and which is meant.

    Args:
        name: The option, within the field of the report.
        report: What the parser objects to.
        parser: The command's parser.
        sources: Where the command line has its names.
    """
    cls = getattr(report.parser, "described", None)
    if cls is None:
        return _explain_top_level(name, parser, sources)
    if inspect.isabstract(cls) or cls in bases_of(report.typehint):
        return names_no_class(report.path, report.typehint, sources)
    own = arguments(cls)
    near = nearest(name, own) or nearest(name.rsplit(".", 1)[-1], own)
    text = f"there is no option {report.path}.{name}{sources.where(name)}"
    others = [other.__name__ for other in subclasses(report.typehint) if name in arguments(other)]
    if others and name not in own:
        return f"{text}: {cls.__name__} has none; set {report.path}.class_path to {' or '.join(others)}, which has it"
    if near:
        return f"{text}; did you mean {report.path}.{near}?"
    theirs = {each: other.__name__ for other in subclasses(report.typehint) for each in arguments(other)}
    if near := nearest(name, theirs):
        return f"{text}: {cls.__name__} has nothing like it; did you mean {near} of {theirs[near]}?"
    return f"{text}; {cls.__name__} takes {', '.join(own) or 'no arguments'}"


def names_no_class(path: str, typehint: Any, sources: Sources) -> str:
    """Return the message that a field names no class, with those that it may name."""
    known = known_classes(typehint)
    which = f", one of {', '.join(known)}," if len(known) <= MOST_LISTED else ""
    return (
        f"{path}{sources.where(path)} names no class: write `class_path: NAME`{which} and its arguments, indented, "
        "below `init_args:`"
    )


def _explain_top_level(name: str, parser: LightningArgumentParser, sources: Sources) -> str:
    text = f"there is no option {name}{sources.where(name)}"
    if meant := sources.lost_indentation(name):
        return f"{text}; {meant}"
    fields = fields_of(parser)
    nested = [option for field in ("model", "data") for option in nested_options(field, fields.get(field))]
    shallow = [option for option in nested if option.count(".") == 1]
    near = (
        _same_end(name, [*fields, *shallow])
        or nearest(name, fields)
        or _same_end(name, nested)
        or _same_end(name, [*fields, *nested], nearly=True)
    )
    return f"{text}; did you mean {near}?" if near else f"{text}; `--help` lists the options"


def _same_end(name: str, options: list[str], nearly: bool = False) -> str | None:
    """Return the first option whose last part is that of `name`, or is spelled like it; None without one."""
    last = name.rsplit(".", 1)[-1]
    by_last = {option.rsplit(".", 1)[-1]: option for option in reversed(options) if not option.endswith(".seed")}
    return by_last.get((nearest(last, by_last) or "") if nearly else last)
