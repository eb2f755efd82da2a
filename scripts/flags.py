"""The command line, frozen: all options of every command with their defaults, and the fields of our classes.

    python -m scripts.flags

writes a text file per command, and `classes.txt`, into `tests/command_line/flags/`. A test compares them with the
program, so that every change of the command line shows in the diff of a commit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse._typehints import get_all_subclass_paths
from lightning.pytorch.cli import LightningArgumentParser

from cli import OneForAllCLI
from command_line.classes import bases_of
from command_line.help_pages import COMMANDS
from command_line.options import class_fields, command_parser
from command_line.parser import Parser
from command_line.process import import_packages
from command_line.tools import TOOLS, parser_of
from utils.files import write_text
from utils.trust import PACKAGES

FOLDER = Path(__file__).parents[1] / "tests" / "command_line" / "flags"


class _Found(Exception):
    """Carries the parser of the whole command line out of LightningCLI, which would otherwise parse with it."""

    def __init__(self, parser: LightningArgumentParser):
        self.parser = parser


class _Unparsed(OneForAllCLI):
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        raise _Found(parser)


def parser_of_run(command: str) -> LightningArgumentParser:
    """Return the parser of a command that runs a Trainer."""
    import_packages(PACKAGES)
    try:
        _Unparsed([command, "--print_config"])  # which needs no checkpoint
    except _Found as found:
        return command_parser(found.parser, command)
    raise AssertionError("LightningCLI has not parsed its arguments")


def frozen() -> dict[str, str]:
    """Return the text of each file, by its name."""
    parsers = {name: parser_of_run(name) for name in COMMANDS}
    texts = {f"{name}.txt": _text(options(each)) for name, each in parsers.items()}
    texts |= {f"{name}.txt": _text(options(parser_of(name))) for name in TOOLS}
    texts["classes.txt"] = _text(class_options(parsers["fit"]))
    return texts


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a line per option of a parser, such as `--trainer.max_steps = -1`; positional arguments come first."""
    for action in sorted(parser._actions, key=lambda action: (bool(action.option_strings), action.option_strings)):
        name = ", ".join(action.option_strings) or f"{action.dest} {action.nargs or ''}".rstrip()
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        default = "" if action.default is argparse.SUPPRESS else f" = {_plain(action.default)}"
        yield f"{name}{choices}{default}"


def class_options(parser: LightningArgumentParser) -> Iterator[str]:
    """Yield a line per field of each class of ours that a config may name, such as `WarmupCosine.warmup = 0.05`."""
    for path in sorted({path for type_ in class_fields(parser).values() for path in our_classes(type_)}):
        yield from _fields(path)


def our_classes(type_: Any) -> list[str]:
    """Return the class paths of ours that a field of a type takes, also where torch has a class of the same name."""
    bases = {f"{base.__module__}.{base.__qualname__}" for base in bases_of(type_)}
    return [path for path in get_all_subclass_paths(type_) if path.split(".")[0] in PACKAGES and path not in bases]


def _fields(path: str) -> Iterator[str]:
    module, _, name = path.rpartition(".")
    cls = getattr(__import__(module, fromlist=[name]), name)
    parser = Parser(exit_on_error=False)
    parser.add_class_arguments(cls, fail_untyped=False)
    for action in parser._actions:
        if "help" not in action.dest and action.dest != "print_shtab":
            yield f"{path}.{action.dest} = {_plain(action.default)}"


def _plain(value: Any) -> str:
    return repr(value.as_dict() if hasattr(value, "as_dict") else value)


def _text(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the files, and remove those of commands that are gone."""
    FOLDER.mkdir(exist_ok=True)
    texts = frozen()
    for name, text in texts.items():
        write_text(FOLDER / name, text)
    for path in FOLDER.glob("*.txt"):
        if path.name not in texts:
            path.unlink()


if __name__ == "__main__":
    main()
