"""Fields that the config of a run leaves open, filled before anything is built.

Those of a new run follow from its data and its weights: the number of classes, the sizes of a published network.
The module decides which they are (`CompletesConfig`). Those of a resumed run are its checkpoint's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule

from command_line.configs import CONFIG_OPTIONS
from command_line.yaml_files import read_yaml
from utils.checkpoints import read_config
from utils.config_changes import class_of
from utils.contracts import CompletesConfig, NamesClasses
from utils.precision import AUTO, preferred_precision

NUM_CLASSES = "model.init_args.architecture.init_args.num_classes"
PUBLISHED = ("model.init_args.architecture.init_args.config", "data.init_args.tokenizer")
"""Fields that may follow from the weights of `init_from`."""


def given_fields(args: list[str]) -> set[str]:
    """Return the fields that the configs and flags of a command line set, such as `model.architecture.depth`."""
    given: set[str] = set()
    for argument, following in zip(args, [*args[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if not name.startswith("-"):
            continue
        value = value if equals else following
        if name in CONFIG_OPTIONS:
            given.update(_fields(yaml.safe_load(value) if "\n" in value else read_yaml(Path(value))))
        else:
            given.add(_as_flag(name.lstrip("-").rstrip("+")))
            given.update(_fields(_plain(value), f"{name.lstrip('-')}."))
    return given


def _plain(value: str) -> Any:
    """Return the value of a flag if it is a mapping, such as `{depth: 18}`; else None."""
    try:
        return yaml.safe_load(value) if value.startswith("{") else None
    except yaml.YAMLError:  # text that happens to begin this way
        return None


def _fields(content: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of all fields in nested mappings, as flags name them."""
    for key, value in content.items() if isinstance(content, dict) else ():
        yield _as_flag(f"{prefix}{key}")
        yield from _fields(value, f"{prefix}{key}.")


def _as_flag(path: str) -> str:
    return ".".join(part for part in path.split(".") if part != "init_args")


def fill_open_fields(options: Any, given: Collection[str], checkpoint: dict[str, Any] | None) -> None:
    """Set the fields of a fit that are left open.

    Args:
        options: The parsed config of the fit.
        given: The fields that the user has set (`given_fields`).
        checkpoint: The config of the checkpoint from which the fit resumes; None for a new run.

    Raises:
        FileNotFoundError, ValueError: The data or weights that a value comes from are missing or unusable.
    """
    if checkpoint is not None:
        for path in (NUM_CLASSES, *(PUBLISHED if options.get("model.init_args.init_from") else ())):
            _keep(options, path, given, _at(checkpoint, path))
        _keep_start(options, checkpoint)
        return
    model = class_of(options.model.as_dict())
    if isinstance(model, CompletesConfig):
        values = model.complete(options.as_dict(), given, lambda: class_names(options.data.as_dict()))
        for path, value in values.items():
            options[path] = value


def fill_open_precision(options: Any, checkpoint: dict[str, Any] | None) -> None:
    """Replace the precision `auto` of any command by that of its checkpoint or, in a new run, that of the machine.

    Args:
        options: The parsed config of the command.
        checkpoint: The config of the checkpoint from which a fit resumes; if None, that of `ckpt_path` is read.

    Raises:
        FileNotFoundError, ValueError: As `utils.checkpoints.read_config`.
    """
    if options.trainer.precision != AUTO:
        return
    if checkpoint is None and options.ckpt_path:
        checkpoint = read_config(options.ckpt_path)
    if checkpoint is not None:
        options.trainer.precision = _at(checkpoint, "trainer.precision")
    if options.trainer.precision == AUTO:
        options.trainer.precision = preferred_precision(options.trainer.accelerator)


def class_names(data: dict[str, Any]) -> list[str] | None:
    """Return the names of the classes of a datamodule, given as `class_path` and `init_args`; None if it knows none.

    Raises:
        FileNotFoundError, ValueError: As the datamodule's `find_class_names`.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    built = parser.instantiate(parser.parse_object({"data": data})).data
    return built.find_class_names() if isinstance(built, NamesClasses) else None


def _keep(options: Any, path: str, given: Collection[str], value: Any) -> None:
    """Set the field at a path, and those below it, to what a checkpoint's config says, unless they are given."""
    if isinstance(value, dict):
        for key, each in value.items():
            _keep(options, f"{path}.{key}", given, each)
    elif path in options and _as_flag(path) not in given:
        options[path] = value


def _keep_start(options: Any, checkpoint: dict[str, Any]) -> None:
    """Have a run that began without the weights of `init_from`, since it could not get them, continue without them."""
    offline, start = "model.init_args.init_offline", "model.init_args.init_from"
    if options.get(offline) == "scratch" and _at(checkpoint, start) is None:
        options[start] = None


def _at(config: Any, path: str) -> Any:
    """Return the value at a dotted path of nested mappings; None if there is none."""
    for part in path.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config
