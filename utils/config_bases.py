"""Configs and their bases, put together in the plainest way, without the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import yaml


def with_base(path: PurePath, read: Callable[[PurePath], str]) -> dict[str, Any]:
    """Return what a config says, on top of what the base beside it says, if it names one.

    Args:
        path: The config.
        read: Returns the text of a config.
    """
    content: dict[str, Any] = yaml.safe_load(read(path)) or {}
    base = content.pop("base", None)
    return content if base is None else put_on_top(with_base(path.parent / base, read), content)


def put_on_top(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Put one config on top of another, in place; `KEY+` appends to a list."""
    for key, value in above.items():
        if key.endswith("+"):
            below[key[:-1]] = [*below.get(key[:-1], []), *value]
        elif isinstance(value, dict) and isinstance(below.get(key), dict):
            put_on_top(below[key], value)
        else:
            below[key] = value
    return below
