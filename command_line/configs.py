"""Config files of a command line: found by path or by the name of a shipped one, read, and put in order."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CONFIG_OPTIONS = ("--config", "-c")
SHIPPED = Path(__file__).resolve().parents[1] / "configs"
"""Folder of the configs that come with the program."""

BASE = "base"
"""Key of a config that names another one, which it changes."""


def option_values(args: list[str], *options: str) -> list[str]:
    """Return the values given by `--option value` and `--option=value` for any of the options, in order."""
    values: list[str] = []
    left = iter(args)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name in options:
            values += [value] if equals else itertools.islice(left, 1)
    return values


def given_configs(args: list[str]) -> list[str]:
    """Return the config files that a command line names."""
    return option_values(args, *CONFIG_OPTIONS)


def find_config(name: str) -> Path:
    """Return the config file `name`: a path, or the name of a shipped one, such as `cifar10/resnet20.yaml`.

    Raises:
        FileNotFoundError: There is none; the message names a shipped one that is spelled alike.
    """
    path = Path(name).expanduser()
    inside = Path(*path.parts[1:]) if path.parts[:1] == (SHIPPED.name,) else path
    for candidate in (path, SHIPPED / inside):
        if candidate.is_file():
            return candidate
    shipped = sorted(file.relative_to(SHIPPED).as_posix() for file in SHIPPED.rglob("*.yaml"))
    near = difflib.get_close_matches(inside.as_posix(), shipped, 1)
    hint = f"did you mean {near[0]}?" if near else f"shipped ones are {', '.join(shipped)}"
    raise FileNotFoundError(f"config {name} does not exist, neither as a file nor among the shipped ones; {hint}")


def read_config(path: Path) -> Any:
    """Return the content of a config file.

    Raises:
        ValueError: It is not valid YAML; the message names the line.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config {path} is not valid YAML: {error}") from error


def with_bases(path: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """Return a config file and, before it, the ones that it builds on (`base: resnet20.yaml`, beside it or shipped).

    Raises:
        FileNotFoundError: A base does not exist.
        ValueError: A file is not valid YAML, or is its own base.
    """
    if path in above:
        raise ValueError(f"config {path}: {BASE} leads back to the file itself")
    content = read_config(path)
    base = content.get(BASE) if isinstance(content, dict) else None
    if base is None:
        return [path]
    beside = path.parent / str(base)
    return [*with_bases(beside if beside.is_file() else find_config(str(base)), (*above, path)), path]


def forget(base: object) -> None:
    """Return None for the name of a base, which `with_found_configs` has read: a printed config names none."""


def with_found_configs(args: list[str]) -> list[str]:
    """Return a command line with each config replaced by its path, and its bases put before it.

    Raises:
        FileNotFoundError, ValueError: As `find_config` and `with_bases`.
    """
    return list(_with_found_configs(args))


def _with_found_configs(args: list[str]) -> Iterator[str]:
    left = iter(args)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name not in CONFIG_OPTIONS:
            yield argument
            continue
        config = value if equals else next(left, None)
        if config is None:  # the parser will say that the value is missing
            yield argument
            return
        for path in with_bases(find_config(config)):
            yield from ("--config", str(path))
