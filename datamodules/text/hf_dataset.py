"""Text task whose pairs Hugging Face's `datasets` reads from a local folder or a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from datamodules.hf_splits import Rows, divide, open_splits, require
from datamodules.text.examples import PairedLines
from datamodules.text.lines import Stored
from datamodules.text.tables import check_text
from datamodules.text.tasks import Split, TextTask
from utils.checks import check_fraction, check_int

if TYPE_CHECKING:
    from datasets import Dataset

_AT_ONCE = 4096  # number of rows in memory


class HFDataset(TextTask):
    """Pairs of texts of a data set of Hugging Face's `datasets` (an extra), from local files, in which they stay.

    Args:
        path: A Parquet file; a folder of Parquet, CSV or JSON files, as on the Hugging Face Hub; or a folder that
            `save_to_disk` wrote.
        source_field: Column of the sources. An entry of a column of dictionaries is named after a dot: in
            {"translation": {"en": ..., "de": ...}}, `translation.en`.
        target_field: Column of the targets, in the same notation.
        train_split: Name of the training split; if null, `train`.
        val_split: Name of the validation split; if null, the one called `validation`, `valid`, `val` or `dev`, else a
            part of the training pairs.
        test_split: Name of the test split; if null, `test`, else a part of the training pairs.
        val_fraction: Fraction of the training pairs held out for validation if there is no such split, at least 0 and
            below 1.
        test_fraction: Fraction of the training pairs held out for the test if there is no such split, at least 0 and
            below 1.
        split_seed: Seed of the choice of pairs to hold out.
        **options: Arguments of `TextTask`.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        path: str,
        source_field: str = "source",
        target_field: str = "target",
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        split_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.place = path
        self.source_field = source_field
        self.target_field = target_field
        self.names: dict[Split, str | None] = {"train": train_split, "val": val_split, "test": test_split}
        self.fractions: dict[Split, float] = {
            "val": check_fraction("HFDataset: val_fraction", val_fraction),
            "test": check_fraction("HFDataset: test_fraction", test_fraction),
        }
        self.split_seed = check_int("HFDataset: split_seed", split_seed)

    @cached_property
    def _rows(self) -> dict[Split, Rows]:
        splits = open_splits(self.place, "HFDataset: path")
        return divide(splits, self.place, self.names, self.fractions, self.split_seed)

    def path(self, split: Split) -> str:
        """Return the file or folder of the data set, and the split."""
        return self._rows[split].source if split in self._rows else self.place

    def examples(self, split: Split) -> PairedLines:
        """Return the pairs of a split.

        Raises:
            FileNotFoundError: There is nothing at `path`.
            ValueError: `datasets` is not installed or cannot read the data, or a split or column is missing.
        """
        rows = require(self._rows, split, f"HFDataset: {self.place}", f"{split}_split")
        if not len(rows.table):
            raise ValueError(f"HFDataset: {rows.source} has no rows")
        return PairedLines(Column(rows, self.source_field), Column(rows, self.target_field))


class Column(Stored[str]):
    """The texts of a column, or of an entry of a column of dictionaries; they stay on disk.

    Args:
        rows: The rows.
        field: Name of the column, or of the column and the entry, divided by a dot.

    Raises:
        ValueError: There is no such column; a text, when it is read, is missing, blank or no text.
    """

    def __init__(self, rows: Rows, field: str) -> None:
        columns = rows.table.column_names
        name, _, self._key = (field, "", "") if field in columns else field.partition(".")
        if name not in columns:
            raise ValueError(f"{rows.source}: no field {field!r}; it has {', '.join(map(repr, columns))}")
        self._name, self._field, self._source = name, field, rows.source
        self._table: Dataset = rows.table.select_columns([name])

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._table)

    def item(self, number: int) -> str:
        """Return a text."""
        return self._text(number, self._table[number][self._name])

    def __iter__(self) -> Iterator[str]:
        """Yield the texts, some thousand of which are in memory."""
        for start in range(0, len(self), _AT_ONCE):
            for number, value in enumerate(self._table[start : start + _AT_ONCE][self._name], start):
                yield self._text(number, value)

    def _text(self, number: int, value: Any) -> str:
        place = f"{self._source}, row {number}: field {self._field!r}"
        if self._key:
            if not isinstance(value, dict) or self._key not in value:
                known = f"; the column has {', '.join(map(repr, value))}" if isinstance(value, dict) else ""
                raise ValueError(f"{place} is missing{known}")
            value = value[self._key]
        text = check_text(value, place)
        if not text or text.isspace():
            raise ValueError(f"{place} is empty: fill it or remove the row")
        return text
