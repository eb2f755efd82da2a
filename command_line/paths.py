"""Paths of a command line and of configs: `~` at the beginning, empty ones, and the checkpoint in a run folder."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from contextlib import suppress
from pathlib import Path
from typing import Any

from utils.run_weights import weights_of_run

_HOME = re.compile(r"~[\w.-]*/")
_PATH_OPTION = re.compile(r"-c|--(.*[._])?(path|file|dir|root|config|output|init_from|teacher|tokenizer)")
"""Options whose value is a path, of any class, in the commands that run a Trainer."""
EMPTY = "the path is empty, perhaps because a shell variable is not set; specify a file or a folder"
"""What is wrong with an empty path, which Python takes for the current folder."""


def expand_home(value: Any) -> Any:
    """Return a value of a config, with `~/` or `~user/` at the beginning of each string in it expanded.

    It does not ask which strings are paths: only a path begins this way, and a shell would expand it as well.
    """
    from jsonargparse import Namespace  # takes long, and flags are expanded before libraries are imported

    if isinstance(value, str):
        return expanded(value)
    if isinstance(value, Namespace):
        for key, item in vars(value).items():
            setattr(value, key, expand_home(item))
        return value
    if isinstance(value, dict):
        return {key: expand_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_home(item) for item in value]
    return value


def expanded(value: str) -> str:
    """Return a path with `~/` or `~user/` at its beginning expanded; as it is if there is no such user."""
    if _HOME.match(value):
        with suppress(RuntimeError):  # there is no such user
            return str(Path(value).expanduser())
    return value


def expand_flags(args: list[str]) -> list[str]:
    """Return a command line with `~/` expanded at the beginning of each value: no shell does so in `--run_dir=~/x`."""
    changed = []
    for arg in args:
        name, equals, value = arg.partition("=")
        changed.append(f"{name}={expanded(value)}" if equals and name.startswith("-") else expanded(arg))
    return changed


def path_argument(text: str) -> str:
    """Return a path, `~/` expanded: the type of every path among the arguments of the commands in `commands/`.

    Raises:
        ArgumentTypeError: It is empty.
    """
    if not text:
        raise ArgumentTypeError(EMPTY)
    return expanded(text)


def empty_path(args: list[str]) -> str | None:
    """Return which option of a command line has an empty path as its value; None if none has."""
    for arg, following in zip(args, [*args[1:], None], strict=True):
        option, equals, value = arg.partition("=")
        if _PATH_OPTION.fullmatch(option) and (value if equals else following) == "":
            return option
    return None


def checkpoint_file(path: str) -> str:
    """Return the checkpoint that a path stands for: in a run folder best.ckpt or, without one, last.ckpt.

    Raises:
        FileNotFoundError: A folder has neither.
        ValueError: The path is empty.
    """
    if not path:
        raise ValueError(f"--ckpt_path: {EMPTY}")
    if not Path(path).is_dir():
        return path
    if (file := weights_of_run(Path(path))) is not None:
        return str(file)
    raise FileNotFoundError(
        f"--ckpt_path {path} is a folder without checkpoints/best.ckpt or last.ckpt; pass a run folder or a checkpoint"
    )


def with_checkpoint_files(args: list[str]) -> list[str]:
    """Return a command line in which `--ckpt_path` names a file, and print which one where it named a run folder.

    Raises:
        FileNotFoundError, ValueError: As `checkpoint_file`.
    """
    from lightning.pytorch.utilities import rank_zero_info

    changed = list(args)
    for index, arg in enumerate(args):
        before, equals, value = arg.partition("=")
        if before != "--ckpt_path" or not (equals or index + 1 < len(args)):
            continue
        given = value if equals else args[index + 1]
        file = checkpoint_file(given)
        if file != given:
            rank_zero_info(f"checkpoint: {file}")
            changed[index if equals else index + 1] = f"{before}={file}" if equals else file
    return changed
