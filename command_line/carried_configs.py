"""The config that a checkpoint or a run folder carries, and the part of it that a command line starts from."""

from __future__ import annotations

from typing import Any

import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from command_line.configs import given_configs, is_on, option_values
from command_line.invocation import TRANSIENT
from command_line.mistakes import folder_asked_for, without_checkpoint
from command_line.yaml_files import read_yaml
from utils.checkpoint_config import plain_config, taken_config
from utils.checkpoints import newest_intact_checkpoint, read_config


def resolved_config(parser: LightningArgumentParser, options: Any) -> dict[str, Any]:
    """Return the resolved config as plain values, without what only this invocation asked for."""
    config = yaml.safe_load(parser.dump(options, skip_unset=False, format="yaml"))
    asked = {"weights_only", "verbose", "return_predictions", "config", *TRANSIENT}
    return {key: value for key, value in config.items() if key not in asked}


def with_run_config(args: list[str]) -> list[str]:
    """Return a command line, with what the run's config.yaml may say added if it resumes a run and names no config.

    The folder may be somebody else's: its config passes the same gate as that of a checkpoint.

    Raises:
        ValueError: It names something that only `--trust_checkpoint` lets it name, an earlier version wrote the run, or
            as `folder_asked_for`.
    """
    if args[:1] != ["fit"] or not is_on(args, "--resume") or given_configs(args) or option_values(args, "--ckpt_path"):
        return args
    folder = folder_asked_for(args)
    config = folder / "config.yaml" if folder else None
    if config is None or not config.is_file() or config.stat().st_size == 0:
        return args
    if is_on(args, "--trust_checkpoint"):
        return [args[0], "--config", str(config), *args[1:]]
    try:
        taken = taken_config(read_yaml(config), args[0], config, same_run=True)
    except ValueError:
        newest_intact_checkpoint(config.parent)  # one of an earlier version, whose classes may have moved, says so
        raise
    return [args[0], "--config", yaml.safe_dump(taken, sort_keys=False), *args[1:]]


def with_checkpoint_config(args: list[str]) -> list[str]:
    """Return a command line with the config that its checkpoint carries before all other configs and flags.

    Raises:
        FileNotFoundError, ValueError: As `utils.checkpoints.read_config`; ValueError also for validate, test or predict
            without a checkpoint.
    """
    if not args or args[0] not in LightningCLI.subcommands():
        return args
    ckpt_paths = option_values(args, "--ckpt_path")
    if not ckpt_paths:
        if args[0] != "fit" and "--print_config" not in args:
            raise ValueError(without_checkpoint(args[0]))
        return args
    config = config_of(ckpt_paths[-1], args[0], trusted=is_on(args, "--trust_checkpoint"))
    return [args[0], "--config", yaml.safe_dump(config, sort_keys=False), *args[1:]]


def config_of(ckpt_path: str, command: str, trusted: bool) -> dict[str, Any]:
    """Return what a command takes of a checkpoint's config: what it needs or, if trusted, all but `TRANSIENT`."""
    config = read_config(ckpt_path)
    if not trusted:
        return taken_config(config, command, ckpt_path)
    return {key: value for key, value in plain_config(config, ckpt_path).items() if key not in TRANSIENT}
