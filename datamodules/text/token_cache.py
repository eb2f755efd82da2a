"""A cache of tokenised texts on disk, in files named after their content, so that none is ever out of date."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.text.token_file import open_table, write_table
from datamodules.text.token_table import TokenTable
from datamodules.text.word_encoding import WordEncoder, divides_at_white_space
from utils.files import atomic_path

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FORMAT = b"2"  # of the files; part of the key, so that another format does not read old ones
_CHUNK = 10_000  # number of texts in memory at once,
_CHARACTERS = 1 << 24  # and of their characters, which the last one may exceed


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], cache_dir: str | None = None, dropped: int | None = None
) -> TokenTable:
    """Return the ids of texts, each with what the tokenizer adds to it (the end of the sequence).

    Args:
        tokenizer: The tokenizer; its whole definition is part of the key.
        texts: One text per row of the result. They are read one after the other, twice if there is a cache.
        cache_dir: Folder of the cache; None disables it. A damaged file is written again; if the folder cannot be
            written to, there is only a warning.
        dropped: An id that is left out wherever it occurs, such as that of the end of the sequence; if None, no id is.
    """
    if cache_dir is None:
        return _in_memory(tokenizer, texts, dropped)
    file = Path(cache_dir) / f"tokens-{_key(tokenizer, texts, dropped)}.ids"
    table = _read(file, len(texts))
    if table is None:
        try:
            with atomic_path(file) as temporary, temporary.open("wb") as stream:
                write_table(_encode(tokenizer, texts, dropped), stream, _dtype(tokenizer))
            table = open_table(file, len(texts))
        except OSError as error:
            rank_zero_warn(f"tokenised texts cannot be cached: {error}")
            return _in_memory(tokenizer, texts, dropped)
    return table


def _in_memory(tokenizer: Tokenizer, texts: Iterable[str], dropped: int | None) -> TokenTable:
    dtype, none = _dtype(tokenizer), np.zeros(0, np.int32)
    chunks = [(chunk.ids.astype(dtype), chunk.sizes) for chunk in _encode(tokenizer, texts, dropped)]
    ids, sizes = zip(*chunks, strict=True) if chunks else ((none,), (none,))
    return TokenTable.stored(np.concatenate(ids), np.concatenate(sizes))


def _dtype(tokenizer: Tokenizer) -> np.dtype:
    """Return the smallest dtype that has room for all ids."""
    largest = max(tokenizer.get_vocab().values(), default=0)
    return np.dtype(np.uint16 if largest < 1 << 16 else np.int32)


def _encode(tokenizer: Tokenizer, texts: Iterable[str], dropped: int | None) -> Iterator[TokenTable]:
    """Yield the ids of texts, some thousand texts at a time."""
    words = WordEncoder(tokenizer) if divides_at_white_space(tokenizer) else None
    for chunk in _chunks(texts):
        if words is not None:
            table = words.encode(chunk)
        else:
            table = TokenTable.of([encoding.ids for encoding in tokenizer.encode_batch_fast(chunk)])
        yield table if dropped is None else table.without(dropped)


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield the texts, as many at a time as `_CHUNK` and `_CHARACTERS` allow."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == _CHUNK or characters >= _CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _key(tokenizer: Tokenizer, texts: Iterable[str], dropped: int | None) -> str:
    digest = hashlib.sha256(_FORMAT if dropped is None else _FORMAT + b" without %d" % dropped)
    for chunk in chain([[tokenizer.to_str()]], _chunks(texts)):
        digest.update(np.array([len(chunk), *map(len, chunk)]).tobytes())  # tells ["ab", "c"] from ["a", "bc"]
        digest.update("".join(chunk).encode())
    return digest.hexdigest()[:32]


def _read(file: Path, rows: int) -> TokenTable | None:
    if not file.is_file():
        return None
    try:
        return open_table(file, rows)
    except (OSError, ValueError) as error:
        rank_zero_warn(f"{file} is damaged and will be written again ({error})")
        return None
