"""A cache of tokenised texts on disk, under names made from their content, so that none is ever out of date."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.text.token_table import TokenTable
from utils.files import atomic_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FORMAT = b"1"  # of the files; another number leaves old ones alone
_AT_ONCE = 10_000  # texts


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
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, ids=table.ids, starts=table.starts)
    except OSError as error:
        rank_zero_warn(f"tokenised data is not kept: {error}")
