"""Options of a single invocation, which say what a command does now and not what a run is."""

from __future__ import annotations

from collections import deque

from command_line.configs import BASE, find_config, given_configs, option_values, with_bases
from command_line.paths import expanded
from command_line.run_options import RUN_OPTIONS
from command_line.yaml_files import read_yaml

CHECKPOINT = "ckpt_path"
TRANSIENT = (*(option.name for option in RUN_OPTIONS), CHECKPOINT, BASE)
"""Options of a single invocation, which a saved config must not set again."""

_SWITCHES = {f"--{option.name}" for option in RUN_OPTIONS if not option.value}


def with_invocation_last(args: list[str]) -> list[str]:
    """Return a command line with the options of this invocation at its end.

    A config that was saved or printed sets them to null, which would undo those to the left of it.
    """
    kept: list[str] = []
    last: list[str] = []
    left = deque(args)
    while left:
        argument = left.popleft()
        name, equals, _ = argument.partition("=")
        if name.removeprefix("--") not in TRANSIENT or not name.startswith("--"):
            kept.append(argument)
            continue
        last.append(argument)
        if left and not equals and not (name in _SWITCHES and left[0].startswith("-")):
            last.append(left.popleft())
    return [*kept, *last]


def checkpoint_asked_for(args: list[str]) -> str | None:
    """Return the checkpoint that a command line names by a flag or else in a config; None if it names none.

    Raises:
        FileNotFoundError, ValueError: As `find_config` and `with_bases`.
    """
    if flags := option_values(args, f"--{CHECKPOINT}"):
        return flags[-1]
    files = [file for name in given_configs(args) for file in with_bases(find_config(name))]
    named = [checkpoint for file in files if (checkpoint := read_yaml(file).get(CHECKPOINT)) is not None]
    return expanded(str(named[-1])) if named else None


def with_checkpoint_flag(args: list[str]) -> list[str]:
    """Return a command line with the checkpoint that a config names as a flag: its own config is read before others.

    Raises:
        FileNotFoundError, ValueError: As `checkpoint_asked_for`.
    """
    checkpoint = checkpoint_asked_for(args)
    if checkpoint is None or option_values(args, f"--{CHECKPOINT}"):
        return args
    return [*args, f"--{CHECKPOINT}", checkpoint]
