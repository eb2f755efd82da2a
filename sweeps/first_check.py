"""The check of a search space by `oneforall fit`, before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from command_line.error_line import PREFIX
from command_line.yaml_files import line_of
from sweeps.space import Choices, Space, Value, as_flag
from sweeps.training import PROGRAM
from utils import interruption


def resolved_config(config: str, flags: Sequence[str], space_file: Path, space: Space) -> dict[str, Any]:
    """Return the config of a trial as plain values, with the first value of each field.

    Raises:
        ValueError: A field does not exist or does not take a value; the message names its file and line.
    """
    first, *_ = [_with_values(config, flags, space_file, values) for values in _values_to_check(space)]
    return first


def print_config(args: Sequence[str]) -> dict[str, Any]:
    """Return the resolved config of a command as plain values.

    Raises:
        ValueError: The command line has a mistake; the message is the line that the command prints.
    """
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *args, "--print_config"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    interruption.raise_requested()
    if done.returncode:
        printed = (done.stderr.strip().splitlines() or ["the config cannot be read"])[-1]
        raise ValueError(printed.removeprefix(PREFIX))
    resolved: dict[str, Any] = yaml.safe_load(done.stdout)
    return resolved


def _values_to_check(space: Space) -> Iterator[dict[str, Value]]:
    """Yield the first value of each field, then others if types differ or values are names, which may be misspelt."""
    to_check = {
        field: each.values if isinstance(each, Choices) and not _all_numbers(each) else (each.first,)
        for field, each in space.items()
    }
    for place in range(max(map(len, to_check.values()))):
        yield {field: values[min(place, len(values) - 1)] for field, values in to_check.items()}


def _all_numbers(choices: Choices) -> bool:
    types = {type(value) for value in choices.values}
    return types in ({int}, {float}, {int, float}) and isinstance(choices.first, float | int)


def _with_values(config: str, flags: Sequence[str], space_file: Path, values: dict[str, Value]) -> dict[str, Any]:
    try:
        return print_config(["fit", "--config", config, *flags, *(as_flag(*pair) for pair in values.items())])
    except ValueError as error:
        named = next((field for field in values if field in str(error)), None)
        if named is None:
            raise
        raise ValueError(f"{space_file}, line {line_of(space_file, named)}: {error}") from error
