"""Mistakes of a command line that show without the parser, and so are reported before any library is imported."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from pathlib import Path

from command_line.configs import CONFIG_OPTIONS, is_on, option_values, with_found_configs
from command_line.error_line import wants_traceback
from command_line.help_pages import COMMANDS, flags, help_option
from command_line.invocation import checkpoint_asked_for
from command_line.paths import EMPTY, checkpoint_file, empty_path, expand_flags
from command_line.run_options import RUN_OPTIONS, wanted_folder
from command_line.tools import TOOLS
from utils.error_text import text_of
from utils.files import require_checkpoint

MEANT = {"train": "fit", "training": "fit", "run": "fit", "eval": "test", "evaluate": "test", "val": "validate"}
MEANT |= {"infer": "predict", "inference": "predict", "generate": "translate"}
"""Command names of other programs, and ours."""

EXAMPLE = "oneforall fit --config quickstart/images.yaml"

TOP_LEVEL = (
    *(option.name for option in RUN_OPTIONS),
    *("config", "print_config", "help", "seed_everything", "ckpt_path", "base", "weights_only"),
    *("trainer", "model", "data", "checkpoint", "resume_checkpoint", "non_finite", "curves"),
    *("verbose", "return_predictions"),
)
"""Names of all options without a dot, of any command."""


def mistake_in(args: list[str]) -> str | None:
    """Return what is wrong with a command line, as far as that shows without the parser; None if nothing is."""
    if mistake := mistake_in_command(args):
        return mistake
    if args[0] not in COMMANDS or help_option(args):
        return None
    if empty := empty_path(args):
        return f"{empty}: {EMPTY}"
    if wants_traceback(args):
        return None
    args = expand_flags(args)
    try:
        if mistake := _loose_words(args) or _unknown_option(args):
            return mistake
        folder_asked_for(args)
        with_found_configs(args)
        checkpoint = checkpoint_asked_for(args)
        if checkpoint is None:
            return _missing(args)
        require_checkpoint(Path(checkpoint_file(checkpoint)))
    except (ValueError, OSError) as error:
        return text_of(error)
    return None


def mistake_in_command(args: list[str]) -> str | None:
    """Return what is wrong with the command, the first word of a command line; None if nothing is."""
    listed = ", ".join(f"{name} ({what})" for name, what in (COMMANDS | TOOLS).items())
    if not args:
        return f"a command is missing; commands are {listed}; for example: {EXAMPLE}"
    if args[0] in COMMANDS or args[0] in TOOLS or args[0].startswith(("-h", "--help")):
        return None
    if args[0].startswith("-"):
        return f"the command comes first, before {args[0]}; commands are {listed}; for example: {EXAMPLE}"
    near = MEANT.get(args[0]) or next(iter(difflib.get_close_matches(args[0], [*COMMANDS, *TOOLS], 1)), None)
    meant = f"did you mean {near}? " if near else ""
    return f"there is no command {args[0]}; {meant}commands are {listed}"


def folder_asked_for(args: list[str]) -> Path | None:
    """Return the run folder that a command line asks for; None if it leaves the choice to the command.

    Raises:
        ValueError: As `wanted_folder`.
    """
    run_dir, name = (next(reversed(option_values(args, option)), None) for option in ("--run_dir", "--name"))
    return wanted_folder(run_dir, name)


def explain_loose(loose: list[str], command: str) -> str:
    """Return what to do with words of a command line that belong to no option."""
    configs = [word for word in loose if word.endswith((".yaml", ".yml"))]
    if configs:
        return f"a config is passed with --config: oneforall {command} --config {' --config '.join(configs)}"
    return f"{' '.join(loose)} belongs to no option; `oneforall {command} --help` lists the options"


def without_config(command: str, missing: Iterable[str]) -> str:
    """Return the message that a command lacks parts which a config would name."""
    names = list(missing)
    return (
        f"oneforall {command} needs {' and '.join(names)}; pass a config, such as `oneforall {command} --config "
        f"quickstart/images.yaml`, or {' and '.join(f'--{name}' for name in names)}"
    )


def without_checkpoint(command: str) -> str:
    """Return the message that a command lacks a checkpoint."""
    return f"oneforall {command} needs a checkpoint: pass --ckpt_path runs/NAME/checkpoints/best.ckpt"


def _loose_words(args: list[str]) -> str | None:
    """Return what to do with words right after the command, where no option can have them as its value."""
    loose = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args[1:]))
    return explain_loose(loose, args[0]) if loose else None


def _unknown_option(args: list[str]) -> str | None:
    """Return which option does not exist and which is meant, where that is plain; the parser explains all others."""
    names = [arg.partition("=")[0][2:].rstrip("+") for arg in args if arg.startswith("--")]
    for name in names:
        if name and "." not in name and name not in TOP_LEVEL:
            return _meant(name, [flag.lstrip("-").rstrip("+") for flag in flags(args[0])])
    return None


def _meant(name: str, known: list[str]) -> str | None:
    same_end = next((option for option in known if option.rpartition(".")[2] == name), None)
    near = same_end or next(iter(difflib.get_close_matches(name, known, 1, 0.7)), None)
    return f"there is no option {name}; did you mean {near}?" if near else None


def _missing(args: list[str]) -> str | None:
    """Return what a command lacks: a checkpoint or, for `fit`, anything that says what to train."""
    if args[0] != "fit":
        return None if "--print_config" in args else without_checkpoint(args[0])
    if any(arg.startswith((*CONFIG_OPTIONS, "--model", "--data", "--print_config")) for arg in args):
        return None
    if is_on(args, "--resume"):
        return _nothing_to_resume(folder_asked_for(args))
    return without_config("fit", ("model", "data"))


def _nothing_to_resume(folder: Path | None) -> str | None:
    """Return why a run that is named by its folder alone cannot be resumed; None if nothing is in the way."""
    if folder is None:
        return "--resume needs a run: pass --run_dir DIR or --name NAME, or the --config that it began with"
    if (folder / "config.yaml").is_file():
        return None
    return (
        f"there is no run in {folder} (it has no config.yaml): check --run_dir or --name, or pass --config to start "
        "one there"
    )
