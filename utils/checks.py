"""Checks of arguments: each returns a valid value and refuses any other with its name, value and range.

Values come from YAML, so types are checked too: in a config, True and 10.0 are mistakes more often than integers.
"""

import math
from collections.abc import Collection


def check_int(name: str, value: int, at_least: int = 0) -> int:
    """Return `value` if it is an integer of at least `at_least`.

    Raises:
        ValueError: It is not; the message names the argument, the range and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name} must be an integer of at least {at_least}, got {value!r}")
    return value


def check_positive_int(name: str, value: int) -> int:
    """Return `value` if it is an integer of at least 1; errors as `check_int`."""
    return check_int(name, value, at_least=1)


def check_positive(name: str, value: float) -> float:
    """Return `value` if it is a finite number above 0; errors as `check_int`."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return value


def check_at_least(name: str, value: float, least: float = 0.0) -> float:
    """Return `value` if it is a finite number of at least `least`; errors as `check_int`."""
    if not _is_number(value) or not least <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least {least:g}, got {value!r}")
    return value


def check_interval(name: str, seconds: float) -> float:
    """Return `seconds` if it is a number of at least 0, or infinity for never again; errors as `check_int`."""
    if not _is_number(seconds) or not seconds >= 0:
        raise ValueError(f"{name} must be a number of at least 0, got {seconds!r}")
    return seconds


def check_fraction(name: str, value: float) -> float:
    """Return `value` if it is in [0, 1), as a fraction to leave out must be; errors as `check_int`."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number of at least 0 and below 1, got {value!r}")
    return value


def check_probability(name: str, value: float) -> float:
    """Return `value` if it is in [0, 1]; errors as `check_int`."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    return value


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raise ValueError, listing `choices`, unless `value` is one of them, type included (True is not 1, nor is 1.0)."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
