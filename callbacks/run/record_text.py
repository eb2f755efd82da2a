"""Facts about a run from its `run.json`, as text for both `summary.md` and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
"""The content of `run.json`; a run published before a field existed lacks it."""


def model_line(record: Record) -> str:
    """Return the size of the network, such as `ResNet: 272,474 parameters, 272,474 trainable.`."""
    line = f"{record['network']}: {record['parameters']:,} parameters"
    if "trainable" in record:
        line += f", {record['trainable']:,} trainable"
    if record.get("multiply_adds") is not None:
        size = record.get("input_size")
        line += f"; {record['multiply_adds']:,} multiply-adds per {f'{size}x{size} ' if size else ''}image"
    return f"{line}."


def training_facts(record: Record) -> list[tuple[str, str]]:
    """Return time, throughput, hardware and so on, by name."""
    facts = []
    if record["seconds"]:
        with_validation = "validation_seconds" in record
        of_it = f", including {duration(record['validation_seconds'])} of validation" if with_validation else ""
        facts.append(("time", duration(record["seconds"]) + of_it))
    if record.get("throughput"):
        unit = record["unit"]
        facts.append(("throughput", f"{record['throughput']:,.0f} {unit}/s in training"))
        facts.append(("steps", f"{record['steps']:,} optimizer steps, {record['examples']:,} {unit} seen"))
    if record.get("limits"):
        facts.append(("limits", ", ".join(f"{name} {value}" for name, value in record["limits"].items())))
    facts.append(("hardware", record["hardware"]))
    facts.append(("precision", record["precision"]))
    facts += [("W&B", where) for where in record.get("trackers", ())]
    facts.append(("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())))
    facts.append(("commit", ", ".join(record["commits"])))
    return facts


def duration(seconds: float) -> str:
    """Return a time such as `1 h 02 min`, `12 min 05 s` or `9.3 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
