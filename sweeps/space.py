"""The search space of a sweep: a YAML file with a line per field.

model.optimizer.lr: [0.01, 1.0, log]      between two bounds, on a logarithmic scale
model.label_smoothing: [0.0, 0.2]         between two bounds; integers if both are
data.batch_size: {choices: [32, 64]}      one of several values
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from command_line.yaml_files import line_of, read_yaml

OF_THE_SWEEP = ("run_dir", "name", "resume", "ckpt_path", "output", "config", "seeds", "trainer.default_root_dir")
"""Options that a sweep sets itself."""

FORMS = "[low, high], [low, high, log] or {choices: [...]}"

LARGEST = sys.float_info.max

Value = float | int | str | bool | None
"""A value of a field; lists and mappings are JSON text."""


class Range(NamedTuple):
    """Numbers between two bounds, both included; integers if both bounds are."""

    low: float
    high: float
    log: bool

    @property
    def first(self) -> Value:
        """The lower bound."""
        return self.low

    @property
    def whole(self) -> bool:
        """Whether all numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class Choices(NamedTuple):
    """One of several values."""

    values: tuple[Value, ...]

    @property
    def first(self) -> Value:
        """The first value."""
        return self.values[0]


Space = Mapping[str, Range | Choices]
"""The values that each field may take."""


def read_space(path: Path) -> dict[str, Range | Choices]:
    """Return the search space of a file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a search space; the message names file, line, field and what to write instead.
    """
    if not path.is_file():
        raise FileNotFoundError(f"search space {path} does not exist; a shipped one is sweeps/lr_and_decay.yaml")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if all(not line.strip() or line.lstrip().startswith("#") for line in lines):
        raise ValueError(f"{path} has no field; write a line such as `model.optimizer.lr: [0.01, 1.0, log]`")
    content = read_yaml(path)
    if {"method", "parameters"} <= set(content):
        raise ValueError(
            f"{path} is a sweep file of W&B: run `wandb sweep {path}`, or write a line per field, such as "
            "`model.optimizer.lr: [0.01, 1.0, log]`"
        )
    space = {}
    for field, given in content.items():
        try:
            space[str(field)] = _dimension(str(field), given)
        except ValueError as error:
            raise ValueError(f"{path}, line {line_of(path, str(field))}: {field}: {error}") from None
    return space


def as_flag(field: str, value: Value) -> str:
    """Return the flag that sets a field to a value."""
    return f"--{field}={_text(value)}"


def combinations(space: Space) -> int | None:
    """Return the number of combinations if all fields have choices; None if there is a range of numbers."""
    if not all(isinstance(each, Choices) for each in space.values()):
        return None
    return math.prod(len(each.values) for each in space.values() if isinstance(each, Choices))


def short_names(fields: Mapping[str, object]) -> dict[str, str]:
    """Return the shortest end of each field that no other field has."""
    names = {}
    for field in fields:
        parts = field.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        others = [other for other in fields if other != field]
        names[field] = next((end for end in ends if not any(f".{o}".endswith(f".{end}") for o in others)), field)
    return names


def _dimension(field: str, given: object) -> Range | Choices:
    if field.removeprefix("--") in OF_THE_SWEEP:
        raise ValueError("the sweep sets this itself; remove the line")
    if isinstance(given, dict) and set(given) == {"choices"}:
        return _choices(given["choices"])
    if isinstance(given, dict):
        inner = next((key for key in given if key != "choices"), "FIELD")
        raise ValueError(f"write the full name of a field on its line, such as `{field}.{inner}: [0.01, 1.0, log]`")
    if not isinstance(given, list):
        raise ValueError(f"{given!r} is a single value; write {FORMS}, or pass it as a flag: --{field} {given}")
    if len(given) == 3 and given[2] == "log":
        return _range(given[0], given[1], log=True)
    if len(given) == 2:
        return _range(given[0], given[1], log=False)
    raise ValueError(f"{given} must be {FORMS}; to choose one of these values, write {{choices: {given}}}")


def _range(low: object, high: object, log: bool) -> Range:
    bounds = Range(_number(low), _number(high), log)
    if not bounds.low < bounds.high:
        raise ValueError(f"the lower bound {low} is not below the upper bound {high}; write [low, high]")
    if log and bounds.low <= 0:
        raise ValueError(f"a logarithmic scale cannot include {low}; give a lower bound above 0, or leave out log")
    return bounds


def _number(given: object) -> float:
    """Return a bound, including one that YAML takes for text, such as 1e-4.

    Raises:
        ValueError: It is not a finite number.
    """
    number = math.nan
    if isinstance(given, int | float) and not isinstance(given, bool):
        number = given
    elif isinstance(given, str):
        try:
            number = float(given)
        except ValueError:
            raise ValueError(f"the bound {given} is not a number; for names, write {{choices: [...]}}") from None
    if not -LARGEST <= number <= LARGEST:  # NaN fails this as well
        raise ValueError(f"the bound {given} is not a finite number; write one such as 0.01")
    return number


def _choices(given: object) -> Choices:
    if not isinstance(given, list) or len(given) < 2:
        raise ValueError("choices must be a list of at least two values, such as {choices: [32, 64]}")
    values = tuple(map(_choice, given))
    if any(values.index(value) < place for place, value in enumerate(values)):
        raise ValueError(f"{given} contains a value twice (1, 1.0 and true are equal); remove one")
    return Choices(values)


def _choice(given: object) -> Value:
    """Return a value as it is, a list or mapping as JSON.

    Raises:
        ValueError: It is NaN, which equals nothing, or of a type that JSON lacks, such as a date.
    """
    if isinstance(given, float) and math.isnan(given):
        raise ValueError("nan cannot be chosen; remove it")
    if given is None or isinstance(given, bool | int | float | str):
        return given
    try:
        return json.dumps(given)
    except TypeError:
        raise ValueError(f"{given} is neither text nor numbers, as YAML reads it; put it into quotes") from None


def _text(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)
