"""The run's `metrics.csv`: one row for each step at which something was logged."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from utils.files import atomic_path

COLUMNS = ["epoch", "step"]


class MetricsCSV(Logger):
    """Writes `metrics.csv` in the run folder and, unlike Lightning's CSV logger, continues a file it finds there.

    All that is logged at one step shares a row. A new metric becomes a new column; a row has blanks where it has no
    value. Numbers keep all their digits, so two files can be compared bit for bit.

    Args:
        save_dir: The run folder; left empty, the command line fills it in.
    """

    def __init__(self, save_dir: str = ""):
        super().__init__()
        self._save_dir = save_dir
        self.columns: list[str] = list(COLUMNS)
        self.rows: list[dict[str, Any]] = []
        self._loaded = False

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return self._save_dir

    @property
    def log_dir(self) -> str:
        return self._save_dir

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self._save_dir) / "metrics.csv"

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder's config.yaml holds them all."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds values to the row of `step`."""
        self.load()
        values: dict[str, Any] = {key: float(value) for key, value in metrics.items()}
        if "epoch" in values:
            values["epoch"] = int(values["epoch"])
        if self.rows and self.rows[-1].get("step") == step:
            self.rows[-1].update(values)
        else:
            self.rows.append({"step": step, **values})
        self.columns += [key for key in values if key not in self.columns]

    def load(self) -> None:
        """Reads the rows of an earlier part of the run, once.

        Raises:
            ValueError: A line of the file holds something else than numbers.
        """
        if self._loaded:
            return
        if self.path.is_file():
            with self.path.open(newline="") as file:
                reader = csv.DictReader(file)
                try:
                    self.rows = [_numbers(row) for row in reader]
                except (ValueError, TypeError, csv.Error) as error:  # TypeError: more fields than columns
                    raise ValueError(
                        f"{self.path} line {reader.line_num} is damaged ({error}); correct the line or remove it"
                    ) from error
                self.columns = list(reader.fieldnames or COLUMNS)
        self._loaded = True  # not before: what could not be read must not be written over

    @rank_zero_only
    def keep_rows(self, count: int) -> None:
        """Drops what was logged after the point that a run is resumed from."""
        self.load()
        self.rows = self.rows[:count]
        self.columns = COLUMNS + [key for key in self.columns[2:] if any(key in row for row in self.rows)]
        if self.rows or self.path.is_file():
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Writes the file anew, whole or not at all; Lightning asks for it after each row and each error."""
        self.load()  # a resumed run that fails before its first row must leave the earlier ones
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            for row in self.rows:
                writer.writerow([_text(row.get(key)) for key in self.columns])


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    whole = {"epoch", "step"}
    return {key: int(text) if key in whole else float(text) for key, text in row.items() if text}
