"""Many texts as token ids in two arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenTable:
    """Rows of token ids, which differ in length, stored one after the other.

    Attributes:
        ids: All rows, int32 [total].
        starts: Where each row starts, int64 [rows + 1]: row n is ids[starts[n] : starts[n + 1]].
    """

    ids: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> TokenTable:
        """Return a table of these rows."""
        ids = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        return cls(ids, _starts([len(row) for row in rows]))

    @classmethod
    def join(cls, tables: Sequence[TokenTable]) -> TokenTable:
        """Return the rows of all tables, in order."""
        ids = np.concatenate([np.zeros(0, np.int32), *(table.ids for table in tables)])
        return cls(ids, _starts(np.concatenate([np.zeros(0, np.int64), *(table.lengths() for table in tables)])))

    def select(self, kept: np.ndarray) -> TokenTable:
        """Return the rows where `kept`, bool [rows], is true."""
        lengths = self.lengths()
        return TokenTable(self.ids[np.repeat(kept, lengths)], _starts(lengths[kept]))

    def truncate(self, max_length: int, end: int) -> TokenTable:
        """Return the rows, longer ones truncated to `max_length` tokens, the last of which is then `end`."""
        lengths = self.lengths()
        long = lengths > max_length
        if not long.any():
            return self
        positions = np.arange(len(self.ids)) - np.repeat(self.starts[:-1], lengths)  # of each token in its row
        ids = self.ids[positions < max_length]
        starts = _starts(np.minimum(lengths, max_length))
        ids[starts[1:][long] - 1] = end
        return TokenTable(ids, starts)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.starts) - 1

    def lengths(self) -> np.ndarray:
        """Return the number of tokens in each row, int64 [rows]."""
        return np.diff(self.starts)

    def row(self, number: int) -> np.ndarray:
        """Return the ids of one row, int32."""
        return self.ids[self.starts[number] : self.starts[number + 1]]


def _starts(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return where rows of these lengths start, and where the last one ends, int64 [rows + 1]."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
