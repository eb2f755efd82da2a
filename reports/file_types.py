"""Types of the fields in a run's files: a file with other types is damaged, and the error names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.plain_data import check_entries

Types = Mapping[str, Any]

NEEDED: dict[str, Types] = {
    "attention.json": {"of": str, "maps": list[dict[str, Any]]},
    "confusion_matrix.json": {"of": str, "classes": list[str], "cells": list[list[int]]},
    "filters.json": {"layer": str | None},
    "mistakes.json": {"of": str, "mistakes": list[dict[str, Any]]},
    "reliability.json": {"of": str, "bins": list[dict[str, Any]]},
    "run.json": {
        **{"command": str, "commits": list[str], "network": str, "parameters": int, "steps": int, "examples": int},
        **{"unit": str, "seconds": float, "hardware": str, "precision": str, "versions": dict[str, str]},
    },
}
"""Entries of each file that must be there."""

OPTIONAL: dict[str, Types] = {
    "config.yaml": {"model": dict[Any, Any] | None, "checkpoint": dict[Any, Any] | None},
    "filters.json": dict.fromkeys(("filters", "shown", "channels", "height", "width"), int),
    "run.json": {
        **{"state": str, "trainable": int, "multiply_adds": int | None, "input_size": int | None},
        **{"validation_seconds": float, "throughput": float | None, "limits": dict[str, Any], "trackers": list[str]},
    },
}
"""Entries that may be missing, as in the file of an earlier version."""

ROWS: dict[str, tuple[str, Types]] = {
    "attention.json": (
        "maps",
        {"index": int, "source": list[str], "target": list[str], "depth": int, "layers": dict[str, str]},
    ),
    "mistakes.json": ("mistakes", {"true": str, "predicted": str, "confidence": float, "image": str}),
    "reliability.json": ("bins", {"confidence": float, "correct": int, "examples": int}),
}
"""The entry that is a list of rows, and the entries of a row."""

MAX_VALUES, MAX_DEPTH = 100_000, 100
"""Maximum number of values in a config, and of levels: a run writes fewer."""


def check_types(name: str, content: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the field, unless the content of a file has the types that its readers rely on.

    Args:
        name: Name of the file.
        content: What it holds.
    """
    needed = NEEDED.get(name, {})
    check_entries(content, {**needed, **OPTIONAL.get(name, {})}, tuple(needed))
    if name in ROWS:
        key, types = ROWS[name]
        for number, row in enumerate(content[key]):
            check_entries(row, types, tuple(types), place=f"{key}[{number}]")


def check_size(content: object) -> None:
    """Raise ValueError if nested content refers to itself, or its aliases expand to far more than a config holds."""
    values, seen = [(content, 0)], 0
    while values:
        value, depth = values.pop()
        seen += 1
        if seen > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError(f"it refers to itself, or has more than {MAX_VALUES:,} values")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        values.extend((each, depth + 1) for each in inner)
