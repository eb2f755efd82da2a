"""A cache of tokenised texts on disk, in files named after their content, so that none is ever out of date."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.text.token_table import TokenTable
from utils.files import atomic_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FORMAT = b"1"  # of the files; part of the key, so that another format does not read old ones
_CHUNK = 10_000  # number of texts encoded at once


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], cache_dir: str | None = None) -> TokenTable:
    """Return the ids of texts, each with what the tokenizer adds to it (the end of the sequence).

    Args:
        tokenizer: The tokenizer; its whole definition is part of the key.
        texts: One text per row of the result.
        cache_dir: Folder of the cache; None disables it. A damaged file is written again; if the folder cannot be
            written to, there is only a warning.
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
        TokenTable.of([encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts[first : first + _CHUNK]))])
        for first in range(0, len(texts), _CHUNK)
    ]
    return TokenTable.join(tables)


def _key(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(_FORMAT)
    for text in (tokenizer.to_str(), *texts):
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))  # tells ["ab", "c"] from ["a", "bc"]
        digest.update(encoded)
    return digest.hexdigest()[:32]


def _read(file: Path, rows: int) -> TokenTable | None:
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:  # a zip archive: every array has a checksum
            table = TokenTable(content["ids"], content["starts"])
        if len(table) == rows and table.starts[-1] == len(table.ids):
            return table
        problem = "it does not have a row for each text"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problem = str(error)
    rank_zero_warn(f"{file} is damaged and will be written again ({problem})")
    return None


def _write(table: TokenTable, file: Path) -> None:
    try:
        with atomic_path(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, ids=table.ids, starts=table.starts)
    except OSError as error:
        rank_zero_warn(f"tokenised texts cannot be cached: {error}")
