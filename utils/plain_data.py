"""Type checks of nested plain data, such as the content of a file, that name what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_origin


def check_entries(found: Mapping[str, Any], types: Mapping[str, Any], needed: tuple[str, ...], place: str = "") -> None:
    """Raise ValueError, naming key and type in one line, unless entries have the given types and none is missing.

    Args:
        found: The entries. Those that `types` lacks may be anything.
        types: The type of each entry, as it would be written in an annotation: made of classes, `dict[...]`,
            `list[...]`, `|` and `Any`.
        needed: Entries that must be there.
        place: What the entries belong to, such as "text_seq2seq".
    """
    for key in needed:
        if key not in found:
            raise ValueError(f"its entry {_joined(place, key)} is missing")
    for key, wanted in types.items():
        problem = _misfit(found[key], wanted, _joined(place, key)) if key in found else None
        if problem is not None:
            raise ValueError(problem)


def check_like(found: Any, example: Any, place: str) -> None:
    """Raise ValueError, naming the place, unless what nested dicts share with an example is of the same types."""
    if isinstance(example, dict):
        if not isinstance(found, dict):
            raise ValueError(_must_be(place, "dict", found))
        for key, value in example.items():
            if key in found:
                check_like(found[key], value, _joined(place, key))
    elif example is not None and type(found) is not type(example):
        raise ValueError(_must_be(place, type(example).__name__, found))


def _misfit(value: Any, wanted: Any, place: str) -> str | None:
    """Return what is wrong with a value, None if it is of the wanted type."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return None
    if origin is UnionType:
        misfits = [_misfit(value, each, place) for each in arguments]
        return misfits[0] if None not in misfits else None
    if not isinstance(value, origin or wanted) or (isinstance(value, bool) and wanted in (int, float)):
        if wanted is float and type(value) is int:
            return None
        return _must_be(place, (origin or wanted).__name__, value)
    if origin is dict:
        for key, each in value.items():
            problem = _misfit(key, arguments[0], f"the key {str(key)[:40]!r} of {place}")
            problem = problem or _misfit(each, arguments[1], _joined(place, key))
            if problem is not None:
                return problem
    elif origin is list:
        for number, each in enumerate(value):
            problem = _misfit(each, arguments[0], f"{place}[{number}]")
            if problem is not None:
                return problem
    return None


def _must_be(place: str, wanted: str, value: object) -> str:
    return f"its entry {place} must be of type {wanted}, not {type(value).__name__}"


def _joined(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)
