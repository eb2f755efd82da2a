"""A run as its folder tells it."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from callbacks.plots.metric_lines import Line, read_columns
from callbacks.run.scores import Score, validation_scores
from reports.summary_file import SummaryFile, read_summary


class RunFiles:
    """The files of a run folder, each read when it is asked for first.

    Args:
        folder: The run folder, as the user named it.

    Raises:
        FileNotFoundError: There is no such folder, or it is not that of a run.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; name a run folder, such as runs/resnet20")
        if not any((self.folder / name).is_file() for name in ("config.yaml", "metrics.csv")):
            raise FileNotFoundError(
                f"{folder} is no run folder: config.yaml and metrics.csv are missing; name one, such as runs/resnet20"
            )

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.resolve().name

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self.folder / name).is_file()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config; empty if there is none.

        Raises:
            ValueError: The file is damaged.
        """
        path = self.folder / "config.yaml"
        if not path.is_file():
            return {}
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is damaged: {error}; restore it from a checkpoint's run or remove it") from error
        if config is not None and not isinstance(config, dict):
            raise ValueError(f"{path} is no mapping of fields; restore it, or remove it")
        return config or {}

    @cached_property
    def columns(self) -> dict[str, Line]:
        """The line of each metric."""
        path = self.folder / "metrics.csv"
        return read_columns(path) if path.is_file() else {}

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The last and the best value of each validation metric."""
        path = self.folder / "metrics.csv"
        return validation_scores(path) if path.is_file() else {}

    @cached_property
    def epochs(self) -> int:
        """Number of epochs that were finished or begun."""
        return max((int(epochs[-1]) for epochs, _ in self.columns.values()), default=0)

    @cached_property
    def summary(self) -> SummaryFile:
        """What `summary.md` says."""
        return read_summary(self.folder / "summary.md")

    @property
    def test(self) -> dict[str, Any] | None:
        """The record of the newest test; None if there was none."""
        return self.data("test_metrics.json")

    def data(self, name: str) -> dict[str, Any] | None:
        """Return what a JSON file holds; None if there is no such file.

        Raises:
            ValueError: It is damaged.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}; remove it, and repeat the test") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} is damaged: it holds no object; remove it, and repeat the test")
        return content

    @cached_property
    def monitor(self) -> str | None:
        """The metric that chose the best weights, if it was logged."""
        monitor = (self.config.get("checkpoint") or {}).get("monitor")
        return monitor if monitor in self.columns else next(iter(self.scores), None)
