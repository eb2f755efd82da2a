"""Texts as token ids, kept on disk under a name made from their content: changed texts or tokenizers never meet it."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.files import replacing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FORMAT = b"1"  # of the files; another number leaves old ones alone
_AT_ONCE = 10_000  # texts


@dataclass(frozen=True)
class TokenTable:
    """Rows of token ids of differing lengths.

    ids int32 [total] has them one after the other; row n is ids[starts[n] : starts[n + 1]], starts int64 [rows + 1].
    """

    ids: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> TokenTable:
        """A table of these rows."""
        starts = np.zeros(len(rows) + 1, np.int64)
        starts[1:] = np.cumsum([len(row) for row in rows], dtype=np.int64)
        ids = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        return cls(ids, starts)

    @classmethod
    def joined(cls, tables: Sequence[TokenTable]) -> TokenTable:
        """The rows of all tables, in order."""
        lengths = np.concatenate([np.zeros(1, np.int64), *(table.lengths() for table in tables)])
        return cls(np.concatenate([np.zeros(0, np.int32), *(table.ids for table in tables)]), np.cumsum(lengths))

    def select(self, kept: np.ndarray) -> TokenTable:
        """The rows where `kept`, bool [rows], holds."""
        lengths = self.lengths()
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[kept])])
        return TokenTable(self.ids[np.repeat(kept, lengths)], starts)

    def cut(self, longest: int, end: int) -> TokenTable:
        """The rows, those over `longest` tokens cut to that, with `end` for the last."""
        lengths = self.lengths()
        long = lengths > longest
        if not long.any():
            return self
        places = np.arange(len(self.ids)) - np.repeat(self.starts[:-1], lengths)
        ids = self.ids[places < longest]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(lengths, longest))])
        ids[starts[1:][long] - 1] = end
        return TokenTable(ids, starts)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def lengths(self) -> np.ndarray:
        """Tokens in each row, int64 [rows]."""
        return np.diff(self.starts)

    def row(self, number: int) -> np.ndarray:
        """The ids of one row, int32."""
        return self.ids[self.starts[number] : self.starts[number + 1]]


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], cache_dir: str | None = None) -> TokenTable:
    """Encode texts, each with what the tokenizer adds to it (the end of the sequence).

    Args:
        tokenizer: As it is used; its whole definition is part of the key.
        texts: One a row.
        cache_dir: Folder to keep the result in; null to keep none. A file that is damaged is written anew; a folder
            that cannot be written costs a warning.
    """
    if cache_dir is None:
        return _encode(tokenizer, texts)
    file = Path(cache_dir) / f"tokens-{_key(tokenizer, texts)}.npz"
    table = _read(file, len(texts))
    if table is None:
        table = _encode(tokenizer, texts)
        _write(table, file)
    return table


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> TokenTable:
    tables = [
        TokenTable.of([encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts[first : first + _AT_ONCE]))])
        for first in range(0, len(texts), _AT_ONCE)
    ]
    return TokenTable.joined(tables)


def _key(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(_FORMAT)
    for text in (tokenizer.to_str(), *texts):
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))  # else ["ab", "c"] and ["a", "bc"] are one
        digest.update(encoded)
    return digest.hexdigest()[:32]


def _read(file: Path, rows: int) -> TokenTable | None:
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:  # a zip: every array has its checksum
            table = TokenTable(content["ids"], content["starts"])
        if len(table) == rows and table.starts[-1] == len(table.ids):
            return table
        problem = "it holds something else"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problem = str(error)
    rank_zero_warn(f"{file} is damaged and will be written anew ({problem})")
    return None


def _write(table: TokenTable, file: Path) -> None:
    try:
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, ids=table.ids, starts=table.starts)
    except OSError as error:
        rank_zero_warn(f"tokenised data is not kept: {error}")
