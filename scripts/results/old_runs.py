"""What `run.json` would hold, for a run from before there was one: read from its `summary.md`."""

import re
from typing import Any

UNITS = {"h": 3600.0, "min": 60.0, "s": 1.0}


def record_of(summary: str, commit: str) -> dict[str, Any]:
    """Return the record of a run that has ended.

    Args:
        summary: Text of its `summary.md`.
        commit: Commit of the program that it was trained with.

    Raises:
        ValueError: The summary is not that of a run that has ended.
    """
    ended = re.search(r"^Training ended after (\d+)", summary, re.MULTILINE)
    network = re.search(
        r"^(\w+): ([\d,]+) parameters, [\d,]+ trainable(?:; ([\d,]+) multiply-adds)?", summary, re.MULTILINE
    )
    command = re.search(r"The command of this run:\n\n```\n(.*?)\n```", summary, re.DOTALL)
    if not (ended and network and command):
        raise ValueError("summary.md is not that of a run that has ended")
    time, _, validation = _cell(summary, "time").partition(", including ")
    return {
        "command": command[1],
        "commits": [commit],
        "ended": True,
        "network": network[1],
        "parameters": _count(network[2]),
        "multiply_adds": _count(network[3]) if network[3] else None,
        "epochs": int(ended[1]),
        "seconds": _seconds(time),
        "validation_seconds": _seconds(validation.removesuffix(" of validation")),
        "hardware": _cell(summary, "hardware"),
        "precision": _cell(summary, "precision"),
        "versions": dict(each.split(" ", 1) for each in _cell(summary, "versions").split(", ")),
    }


def _cell(summary: str, name: str) -> str:
    found = re.search(rf"^\| {name} \| (.*) \|$", summary, re.MULTILINE)
    if found is None:
        raise ValueError(f"summary.md has no row {name}")
    return found[1]


def _count(text: str) -> int:
    return int(text.replace(",", ""))


def _seconds(text: str) -> float:
    """Return a duration such as "1 h 02 min", "12 min 05 s" or "9.3 s" in seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (h|min|s)\b", text))
