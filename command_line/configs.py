"""Config files of a command line: found by path or by the name of a shipped one, read, and put in order."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from command_line.paths import expanded
from command_line.yaml_files import read_yaml

CONFIG_OPTIONS = ("--config", "-c")
SHIPPED = Path(__file__).resolve().parents[1] / "configs"
"""Folder of the configs that come with the program."""

BASE = "base"
"""Key of a config that names another one, which it changes."""

FLAGS_ONLY = ("debug", "trust_checkpoint")
"""Options that only count as flags."""


def option_values(args: list[str], *options: str) -> list[str]:
    """Return the values given by `--option value` and `--option=value` for any of the options, in order."""
    values: list[str] = []
    left = iter(args)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name in options:
            values += [value] if equals else itertools.islice(left, 1)
    return values


def without(args: Sequence[str], *options: str) -> list[str]:
    """Return a command line without some options and their values."""
    left, kept = iter(args), []
    for argument in left:
        name, equals, _ = argument.partition("=")
        if name not in options:
            kept.append(argument)
        elif not equals:
            next(left, None)
    return kept


def is_on(args: list[str], flag: str) -> bool:
    """Return whether the parser will read a flag as true: the last one counts, with `true` or without a value."""
    *_, value = "false", *option_values([*args, "--"], flag)
    try:
        return value.startswith("-") or yaml.safe_load(value) is True
    except yaml.YAMLError:  # the parser will say what is wrong
        return False


def given_configs(args: list[str]) -> list[str]:
    """Return the config files that a command line names."""
    return option_values(args, *CONFIG_OPTIONS)


def find_config(name: str) -> Path:
    """Return the config file `name`: a path, or the name of a shipped one, such as `cifar10/resnet20.yaml`.

    Raises:
        FileNotFoundError: There is none; the message names a shipped one that is spelled alike.
    """
    path = Path(expanded(name))
    inside = Path(*path.parts[1:]) if path.parts[:1] == (SHIPPED.name,) else path
    for candidate in (path, SHIPPED / inside):
        if candidate.is_file():
            return candidate
    if path.is_dir():
        inside_it = path / "config.yaml"
        hint = f"pass {inside_it}, the config of the run" if inside_it.is_file() else "pass a YAML file in it"
        raise FileNotFoundError(f"config {name} is a folder; {hint}")
    shipped = sorted(file.relative_to(SHIPPED).as_posix() for file in SHIPPED.rglob("*.yaml"))
    near = difflib.get_close_matches(inside.as_posix(), shipped, 1)
    hint = f"did you mean {near[0]}?" if near else f"the shipped ones are {', '.join(shipped)}"
    raise FileNotFoundError(f"config {name} does not exist, neither as a file nor among the shipped ones; {hint}")


def with_bases(path: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """Return a config file and, before it, the ones that it builds on (`base: resnet20.yaml`, beside it or shipped).

    Raises:
        FileNotFoundError: A base does not exist.
        ValueError: As `read_yaml`, or a file is its own base.
    """
    if path in above:
        raise ValueError(f"config {path}: its {BASE} refers back to the file itself")
    base = read_yaml(path).get(BASE)
    if base is None:
        return [path]
    beside = path.parent / str(base)
    return [*with_bases(beside if beside.is_file() else find_config(str(base)), (*above, path)), path]


def forget(base: object) -> None:
    """Return None for the name of a base, which `with_found_configs` has read already: a printed config names none."""


def with_found_configs(args: list[str]) -> list[str]:
    """Return a command line with each config replaced by its path, and its bases put before it.

    A base that has been applied further left is not applied again: it would undo what is in between.

    Raises:
        FileNotFoundError, ValueError: As `find_config` and `with_bases`; ValueError also for two configs whose bases
            have nothing in common: the second base would undo the first config.
    """
    return list(_with_found_configs(args))


def _with_found_configs(args: list[str]) -> Iterator[str]:
    applied: dict[Path, Path] = {}  # each file, and the one given by the user that brought it
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
        path = find_config(config)
        *bases, _ = with_bases(path)
        new = [base for base in bases if base.resolve() not in applied]
        _check_common_base(path, bases, new, applied)
        for file in (*new, path):
            _check_flags(file)
            applied.setdefault(file.resolve(), path)
            yield from ("--config", str(file))


def _check_flags(path: Path) -> None:
    """Raise ValueError if a config sets what is read before any config, and what a file may not grant itself."""
    content = read_yaml(path)
    for name in FLAGS_ONLY:
        if content.get(name):
            raise ValueError(f"config {path} sets {name}, which only a flag can; remove it, and pass --{name}")


def _check_common_base(path: Path, bases: list[Path], new: list[Path], applied: dict[Path, Path]) -> None:
    """Raise ValueError if a config brings its own base after a config that was built on another base."""
    others = [(file, given) for file, given in applied.items() if file != given.resolve()]
    if bases and new == bases and others:
        base, given = others[0]
        raise ValueError(
            f"config {path} builds on {new[0]}, which would override {given}, built on {base}; pass only one of the "
            f"two, or set `{BASE}: {given.name}` in {path.name}"
        )
