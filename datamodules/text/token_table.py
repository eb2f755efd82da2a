"""Many texts as token ids, one after the other in a single array, which may be memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

_INT64 = np.dtype(np.int64)


@dataclass(frozen=True)
class TokenTable:
    """Rows of token ids, which differ in length.

    Selected and truncated tables share the ids of the table that they are made from: a million texts are never copied.

    Attributes:
        ids: The ids of all rows, and perhaps of others, int32 or uint16 [total].
        starts: Where each row starts, int64 or uint32 [rows].
        sizes: Number of ids of each row, int32 [rows]: row n is ids[starts[n] : starts[n] + sizes[n]].
        max_length: Length to which longer rows are truncated; None for no limit.
        end: The last id of a truncated row.
    """

    ids: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    max_length: int | None = None
    end: int = 0

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> TokenTable:
        """Return a table of these rows."""
        ids = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        return cls.stored(ids, np.array([len(row) for row in rows], np.int32))

    @classmethod
    def stored(cls, ids: np.ndarray, sizes: np.ndarray) -> TokenTable:
        """Return the table of rows of these sizes, int [rows], that are stored one after the other."""
        starts = _starts(sizes, np.dtype(np.uint32 if sizes.sum(dtype=np.int64) < 1 << 32 else np.int64))
        return cls(ids, starts, sizes.astype(np.int32, copy=False))

    @classmethod
    def join(cls, tables: Sequence[TokenTable]) -> TokenTable:
        """Return the rows of all tables, in order."""
        if len(tables) == 1:
            return tables[0]
        ids = np.concatenate([table._own_ids() for table in tables]) if tables else np.zeros(0, np.int32)
        return cls.stored(ids, np.concatenate([np.zeros(0, np.int32), *(table.lengths() for table in tables)]))

    def select(self, kept: np.ndarray) -> TokenTable:
        """Return the rows where `kept`, bool [rows], is true."""
        return self if kept.all() else replace(self, starts=self.starts[kept], sizes=self.sizes[kept])

    def without(self, dropped: int) -> TokenTable:
        """Return the rows without an id, wherever it occurs; this table must have no ids but those of its rows."""
        kept = self.ids != dropped
        ends = np.append(0, np.cumsum(kept))  # how many are kept before each place
        starts = self.starts.astype(np.int64)
        return TokenTable.stored(self.ids[kept], ends[starts + self.sizes] - ends[starts])

    def truncate(self, max_length: int, end: int) -> TokenTable:
        """Return the rows, longer ones truncated to `max_length` tokens, the last of which is then `end`."""
        if not (self.lengths() > max_length).any():
            return self
        return replace(self, max_length=max_length, end=end)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.starts)

    def lengths(self) -> np.ndarray:
        """Return the number of tokens in each row, int64 [rows]."""
        sizes = self.sizes if self.max_length is None else np.minimum(self.sizes, self.max_length)
        return sizes.astype(np.int64)

    def row(self, number: int) -> np.ndarray:
        """Return the ids of one row."""
        first, size = int(self.starts[number]), int(self.sizes[number])
        if self.max_length is None or size <= self.max_length:
            return self.ids[first : first + size]
        row = self.ids[first : first + self.max_length].copy()
        row[-1] = self.end
        return row

    def _own_ids(self) -> np.ndarray:
        """Return only the ids of the rows, truncated, one after the other."""
        lengths = self.lengths()
        ids: np.ndarray = self.ids[places_of(self.starts, lengths)]
        if self.max_length is not None:
            ids[np.cumsum(lengths)[self.sizes > self.max_length] - 1] = self.end
        return ids


def places_of(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return where the elements of rows with these starts and lengths, both [rows], are, row after row."""
    return np.repeat(starts.astype(np.int64) - _starts(lengths), lengths) + np.arange(int(lengths.sum()))


def _starts(lengths: np.ndarray, dtype: np.dtype = _INT64) -> np.ndarray:
    """Return where rows of these lengths start if they are one after the other, [rows]."""
    starts = np.zeros(len(lengths), dtype)
    np.cumsum(lengths[:-1], dtype=dtype, out=starts[1:])
    return starts


def smallest(numbers: np.ndarray) -> np.ndarray:
    """Return ascending numbers of at least 0 as uint32 if they fit."""
    fit = len(numbers) == 0 or numbers[-1] < 1 << 32
    return numbers.astype(np.uint32, copy=False) if fit else numbers
