"""Many texts as token ids in two arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenTable:
    """Rows of token ids of different lengths, stored one after the other.

    Attributes:
        ids: All rows, int32 [total].
        starts: Where each row begins, int64 [rows + 1]: row n is ids[starts[n] : starts[n + 1]].
    """

    ids: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> TokenTable:
        """Return a table of these rows."""
        starts = np.zeros(len(rows) + 1, np.int64)
        starts[1:] = np.cumsum([len(row) for row in rows], dtype=np.int64)
        ids = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        return cls(ids, starts)

    @classmethod
    def joined(cls, tables: Sequence[TokenTable]) -> TokenTable:
        """Return the rows of all tables, in order."""
        lengths = np.concatenate([np.zeros(1, np.int64), *(table.lengths() for table in tables)])
        return cls(np.concatenate([np.zeros(0, np.int32), *(table.ids for table in tables)]), np.cumsum(lengths))

    def select(self, kept: np.ndarray) -> TokenTable:
        """Return the rows where `kept`, bool [rows], is true."""
        lengths = self.lengths()
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[kept])])
        return TokenTable(self.ids[np.repeat(kept, lengths)], starts)

    def truncate(self, max_length: int, end: int) -> TokenTable:
        """Return the rows, those over `max_length` tokens truncated to that, with `end` as their last token."""
        lengths = self.lengths()
        long = lengths > max_length
        if not long.any():
            return self
        places = np.arange(len(self.ids)) - np.repeat(self.starts[:-1], lengths)
        ids = self.ids[places < max_length]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(lengths, max_length))])
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
