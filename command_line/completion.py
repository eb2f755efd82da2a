"""Completion of commands and options in a shell: `oneforall --print_shtab bash` prints the script that defines it.

It knows every command, all options of those in `commands/`, and the options of the others' help pages, which are what
most runs need. It imports no library but shtab.
"""

from __future__ import annotations

import argparse

from command_line.help_pages import COMMANDS, rows
from command_line.paths import path_argument
from command_line.tools import TOOLS, parser_of

FLAG = "--print_shtab"

PATHS = ("FILE", "PATH", "DIR")
"""Names that help pages give to values that are paths."""

INSTALL = "pip install 'one-for-all[completion]'"


def shell_asked_for(args: list[str]) -> str | None:
    """Return the shell whose script a command line asks for, empty if it names none; None if it asks for no script."""
    first, equals, value = (args or [""])[0].partition("=")
    return None if first != FLAG else value if equals else " ".join(args[1:2])


def completion_script(shell: str) -> str:
    """Return the script that completes command lines in a shell.

    Args:
        shell: bash, zsh, or another one that shtab knows.

    Raises:
        ValueError: shtab is not installed, or does not know the shell.
    """
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise ValueError(f"{FLAG} needs shtab: {INSTALL}") from error
    if shell not in shtab.SUPPORTED_SHELLS:
        shells = ", ".join(shtab.SUPPORTED_SHELLS)
        raise ValueError(f"{FLAG} takes the name of a shell, one of {shells}, such as {FLAG} bash")
    script: str = shtab.complete(whole_parser(), shell)
    return script


def whole_parser() -> argparse.ArgumentParser:
    """Return a parser that has all commands, only for its options: it parses nothing."""
    parser = argparse.ArgumentParser("oneforall")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(FLAG, metavar="SHELL", choices=["bash", "zsh", "tcsh"], help="print a completion script")
    commands = parser.add_subparsers()
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        for option, text in rows(name):
            _add(command, option, text)
    for name, what in TOOLS.items():
        command = commands.add_parser(name, help=what, add_help=False, parents=[parser_of(name)])
        for action in command._actions:
            if action.type is path_argument:
                _complete_files(action)
    return parser


def _add(parser: argparse.ArgumentParser, option: str, text: str) -> None:
    """Add an option of a help page, given as `--name NAME` or, for a switch, `--resume`."""
    flag, _, value = option.partition(" ")
    if not value:
        parser.add_argument(flag, action="store_true", help=text)
        return
    choices = value.split("|") if "|" in value else None
    action = parser.add_argument(flag, metavar=value, choices=choices, help=text)
    if value in PATHS:
        _complete_files(action)


def _complete_files(action: argparse.Action) -> None:
    import shtab

    action.complete = shtab.FILE  # type: ignore[attr-defined]
