"""What `summary.md` in a run folder says, for programs: state, size, time, hardware, command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)


class SummaryFile(NamedTuple):
    """What `callbacks.run.summary.Summary` has written.

    Attributes:
        state: A sentence, such as "Training ended after 8 of 8 epochs."; empty if there is no summary.
        model: A sentence with the size of the network; empty if unknown.
        training: Time, throughput, hardware, versions and so on, by name.
        command: The command of the run; empty if unknown.
    """

    state: str
    model: str
    training: dict[str, str]
    command: str

    @property
    def parameters(self) -> int | None:
        """Number of parameters; None if unknown."""
        found = re.search(r": ([\d,]+) parameters", self.model)
        return int(found[1].replace(",", "")) if found else None

    @property
    def time(self) -> str:
        """Time of the training, such as "12 min 05 s"; empty if unknown."""
        return self.training.get("time", "").partition(",")[0]


def read_summary(path: Path) -> SummaryFile:
    """Return what a `summary.md` says; without a file, nothing."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head, *rest = re.split(r"^## ", text, flags=re.MULTILINE)
    sections = {title: body.strip() for title, _, body in (each.partition("\n") for each in rest)}
    state = next((line for line in head.splitlines() if line and not line.startswith(("#", "<"))), "")
    command = re.search(r"```\n(.*?)\n```", sections.get("Reproduce", ""), re.DOTALL)
    return SummaryFile(
        state,
        sections.get("Model", "").partition("\n")[0],
        {name: value for name, value in _rows(sections.get("Training", "")) if name},
        command[1] if command else "",
    )


def _rows(table: str) -> list[tuple[str, str]]:
    """Return the first two cells of each row of a Markdown table, without its header's line."""
    rows = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)] for row in _ROW.findall(table)]
    return [(row[0], row[1]) for row in rows if len(row) > 1 and not set(row[0]) <= set("-: ")]
