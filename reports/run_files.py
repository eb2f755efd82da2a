"""A run, read from the files in its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from callbacks.plots.metric_lines import Line, read_columns
from callbacks.run.record_text import Record, duration
from callbacks.run.scores import Score, lower_is_better, overall_scores, score_of, validation_scores
from reports.file_types import check_size, check_types
from utils.file_names import readable


class RunFiles:
    """The files of a run folder, each read on first use.

    Args:
        folder: The run folder, as the user named it.

    Raises:
        FileNotFoundError: There is no such folder, or it is not that of a run.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; specify a run folder, such as runs/resnet20")
        if not any((self.folder / name).is_file() for name in ("config.yaml", "metrics.csv")):
            raise FileNotFoundError(
                f"{folder} is not a run folder: it has neither config.yaml nor metrics.csv; specify one, such as "
                "runs/resnet20"
            )

    @property
    def name(self) -> str:
        """Name of the run, as text."""
        return readable(self.folder.resolve().name)

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
            config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            if not isinstance(config, dict):
                raise ValueError("it is not a mapping of fields")
            check_size(config)
            check_types(path.name, config)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error}; restore it, or remove it") from error
        return config

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
        """Number of epochs, the one in progress included."""
        return max((int(epochs[-1]) for epochs, _ in self.columns.values()), default=0)

    @cached_property
    def record(self) -> Record:
        """The content of `run.json`; empty before training starts."""
        return self.data("run.json") or {}

    @property
    def time(self) -> str:
        """Time of training and validation, such as `12 min 05 s`; empty if there is none yet."""
        return duration(self.record["seconds"]) if self.record.get("seconds") else ""

    @property
    def parameters(self) -> str:
        """Number of parameters; empty if unknown."""
        return f"{self.record['parameters']:,}" if "parameters" in self.record else ""

    @property
    def test_scores(self) -> dict[str, float]:
        """The scores of the newest test, without those per class."""
        return overall_scores(self.test or {})

    @property
    def best(self) -> Score | None:
        """The score of the monitor, whose best value chose the best weights; None if it was not logged."""
        if self.monitor is None:
            return None
        checkpoint = self.config.get("checkpoint") or {}
        lowest = lower_is_better(self.monitor)
        if checkpoint.get("monitor") == self.monitor and "mode" in checkpoint:
            lowest = checkpoint["mode"] == "min"
        return score_of(self.columns[self.monitor], lowest)

    @property
    def test(self) -> dict[str, Any] | None:
        """The record of the newest test; None if there was none."""
        return self.data("test_metrics.json")

    def data(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file; None if there is no such file.

        Raises:
            ValueError: It is damaged.
        """
        path = self.folder / name
        if not path.is_file():
            return None
        with self.reading(name):
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it is not a JSON object")
            check_types(name, content)
            return content

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Add the name of a file, and what to do, to the errors of a block that reads its content."""
        try:
            yield
        except (ValueError, LookupError, ArithmeticError, RecursionError) as error:
            raise ValueError(
                f"{self.folder / name} is damaged: {error}; remove it, or repeat the command that wrote it"
            ) from error

    @cached_property
    def monitor(self) -> str | None:
        """The metric that chose the best weights, if it was logged."""
        monitor = (self.config.get("checkpoint") or {}).get("monitor")
        return monitor if monitor in self.columns else next(iter(self.scores), None)
