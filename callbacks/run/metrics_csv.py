"""metrics.csv: one row per step at which something was logged."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from utils.files import atomic_path

COLUMNS = ["epoch", "step"]

Row = dict[str, float | None]
"""Values by column; epoch and step are integers."""


class MetricsCSV(Logger):
    """Logger that writes `metrics.csv` in the run folder and, unlike Lightning's CSV logger, continues an existing one.

    Everything logged at one step shares a row. A new metric becomes a new column; a row is blank where it has no value.
    Numbers keep all their digits, so that two files can be compared bit for bit.

    Args:
        save_dir: The run folder; if empty, the command line fills it in.
    """

    def __init__(self, save_dir: str = ""):
        super().__init__()
        self._save_dir = save_dir
        self.columns: list[str] = list(COLUMNS)
        self.rows: list[Row] = []
        self._loaded = False
        self._unsaved = False

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """Empty: a run has one file."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return self._save_dir

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return self._save_dir

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._save_dir) / "metrics.csv"

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml in the run folder has them all."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add values to the row of `step`."""
        self.load()
        values: Row = {key: float(value) for key, value in metrics.items()}
        if "epoch" in metrics:
            values["epoch"] = int(metrics["epoch"])
        if self.rows and self.rows[-1].get("step") == step:
            self.rows[-1].update(values)
        else:
            self.rows.append({"step": step, **values})
        self.columns += [key for key in values if key not in self.columns]
        self._unsaved = True

    def load(self) -> None:
        """Read the rows of an earlier part of the run, once.

        Raises:
            ValueError: A line of the file contains anything but numbers.
        """
        if self._loaded:
            return
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                try:
                    self.rows = [_numbers(row) for row in reader]
                except (ValueError, TypeError, csv.Error) as error:  # TypeError: more fields than columns
                    raise ValueError(
                        f"{self.path} line {reader.line_num} is damaged ({error}); correct the line or remove it"
                    ) from error
                self.columns = list(reader.fieldnames or COLUMNS)
        self._loaded = True  # only now: a file that could not be read must not be overwritten

    @rank_zero_only
    def keep_rows(self, count: int, last: Row | None = None) -> None:
        """Drop what was logged after the point that a run resumes from.

        Args:
            count: Number of rows at that point.
            last: The last of them, to which values may have been added since; if None, it stays as it is.
        """
        self.load()
        rows = self.rows[:count]
        if last is not None and 0 < count <= len(self.rows):
            rows[-1] = last
        if rows == self.rows:
            return
        self.rows = rows
        self.columns = COLUMNS + [key for key in self.columns[2:] if any(key in row for row in self.rows)]
        self._unsaved = True
        self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write the file atomically if there is anything new; Lightning calls this after each row and each error."""
        self.load()  # a damaged file must be an error before it is overwritten
        if not self._unsaved:
            return
        with (
            atomic_path(self.path, parents=False) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            for row in self.rows:
                writer.writerow([_text(row.get(key)) for key in self.columns])
        self._unsaved = False


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _numbers(row: dict[str, str]) -> Row:
    return {key: int(text) if key in COLUMNS else float(text) for key, text in row.items() if text}
