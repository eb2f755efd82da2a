"""Input of `predict`: the lines of a text file or the rows of a table, from a file or a pipe."""

from __future__ import annotations

from typing import NamedTuple

from lightning.pytorch import Trainer

from datamodules.text.bucketing import round_up
from datamodules.text.files import read_lines
from datamodules.text.tables import READERS, MissingFieldError, check_text, read_table, table_suffix
from utils.distributed import rank_and_world_size

ARGUMENT = "data.predict_path"


class Record(NamedTuple):
    """One text to predict, which may be blank, and the number of the line where it is (of a table, where it ends)."""

    line: int
    text: str


def most_predicted(trainer: Trainer | None, batch_tokens: int, multiple: int) -> int | None:
    """Return the maximum number of texts in `--trainer.limit_predict_batches` batches; None without a limit.

    The first batches of a prediction are those of the longest texts, for which all have to be tokenised. A prediction
    of a few batches takes the longest among the first texts instead.

    Args:
        trainer: The trainer, if any.
        batch_tokens: Maximum number of tokens in a batch, with as many assumed for a target as for its source.
        multiple: Lengths are padded to a multiple of it.
    """
    limit = trainer.limit_predict_batches if trainer is not None else None
    if type(limit) is not int:
        return None
    return limit * rank_and_world_size(trainer)[1] * (batch_tokens // (2 * round_up(1, multiple)))


class PredictionInput:
    """The texts of `data.predict_path`, read once by one process, since the file may be a pipe.

    Args:
        path: A text file with one text per line, or a table whose name ends as in `READERS`.
        field: Column (or key) of the texts in a table.
        fix: Advice in the error about a missing column.
    """

    def __init__(self, path: str, field: str, fix: str) -> None:
        self.path = path
        self.field = field
        self.fix = fix
        self._records: list[Record] | None = None

    def records(self) -> list[Record]:
        """Return the texts in order, read on first use.

        Raises:
            OSError: The file does not exist, or cannot be read.
            ValueError: It is not text, or not a table with such a column; the message names the line and the columns.
        """
        if self._records is None:
            self._records = self._read()
        return self._records

    def share(self, trainer: Trainer | None) -> None:
        """Give every process the texts that the first one reads; every process must call this."""
        if trainer is not None and trainer.world_size > 1:
            self._records = trainer.strategy.broadcast(self.records() if trainer.is_global_zero else None)

    def _read(self) -> list[Record]:
        suffix = table_suffix(self.path)
        if suffix == ".json":
            raise ValueError(
                f"{ARGUMENT}: {self.path} is JSON: rename it to .jsonl if each line is an object, or to .txt if each "
                "line is a text to predict"
            )
        if suffix not in READERS:
            return [Record(number, text) for number, text in enumerate(read_lines(self.path, ARGUMENT), start=1)]
        records = []
        try:
            for number, (value,) in read_table(self.path, (self.field,), ARGUMENT):
                place = f"{ARGUMENT}: {self.path}, line {number}: field {self.field!r}"
                records.append(Record(number, check_text(value, place)))
        except MissingFieldError as error:
            raise ValueError(f"{error}; {self.fix}, or rename the file to .txt if each line is a text") from error
        if not records:
            raise ValueError(f"{ARGUMENT}: {self.path} has no rows")
        return records
