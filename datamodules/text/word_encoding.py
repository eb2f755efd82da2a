"""Tokenisation of many texts, each distinct word once, by tokenizers for which words do not affect one another.

A text file of a million words has some ten thousand distinct ones. A tokenizer like ours divides a text at white
space before anything else, so that the ids of a text are those of its words, one after the other. The library
(`tokenizers`) normalizes and searches every occurrence again: this is ten times as fast, with the same ids.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from datamodules.text.token_table import TokenTable, places_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_KEPT = 1 << 16  # number of distinct words whose ids are kept: some 15 MB
# White space to Python but not to Unicode, which the library follows
_PYTHON_ONLY = ("\x1c", "\x1d", "\x1e", "\x1f")


def divides_at_white_space(tokenizer: Tokenizer) -> bool:
    """Return whether the ids of a text are those of its words, and the end of the sequence.

    That is certain for tokenizers like those of `train_tokenizer`; for others, the answer is False.
    """
    content = json.loads(tokenizer.to_str())
    normalizer, first, *rest = content["normalizer"], *_parts_of(content["pre_tokenizer"])
    return (
        (normalizer is None or normalizer["type"] == "NFC")  # which does not reach across white space
        and first["type"] == "WhitespaceSplit"
        and all(part["type"] == "Split" or part.get("prepend_scheme") in ("always", "never") for part in rest)
        and not any(character.isspace() for token in content["added_tokens"] for character in token["content"])
        and not content["model"].get("dropout")
        and content["truncation"] is content["padding"] is None
        and _only_appends(content["post_processor"])
    )


def _parts_of(pre_tokenizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the steps of a pre-tokenizer, at least one."""
    if pre_tokenizer is None:
        return [{"type": "None"}]
    return pre_tokenizer.get("pretokenizers") or [pre_tokenizer]


def _only_appends(post_processor: dict[str, Any] | None) -> bool:
    if post_processor is None:
        return True
    kinds = [next(iter(part)) for part in post_processor.get("single", ())]
    return post_processor["type"] == "TemplateProcessing" and kinds[0] == "Sequence" and "Sequence" not in kinds[1:]


class WordEncoder:
    """A tokenizer that keeps the ids of the words it has seen.

    Args:
        tokenizer: A tokenizer that `divides_at_white_space`.
        kept: Number of words beyond which all earlier ones are forgotten.
    """

    def __init__(self, tokenizer: Tokenizer, kept: int = _KEPT) -> None:
        self._tokenizer = tokenizer
        self._kept = kept
        self._end = tokenizer.encode("").ids
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}  # word 0 is the end of a text
        self._words = TokenTable.of([self._end])

    def encode(self, texts: list[str]) -> TokenTable:
        """Return the ids of texts, each with the end of the sequence."""
        if not texts:
            return TokenTable.of([])
        joined = "".join(texts)
        if any(character in joined for character in _PYTHON_ONLY):
            return TokenTable.of([encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)])
        divided = [text.split() for text in texts]
        words = list(chain.from_iterable(divided))
        self._learn(words)
        ends = np.cumsum(np.fromiter(map(len, divided), np.int64, len(texts)) + 1) - 1
        is_word = np.ones(len(words) + len(texts), bool)
        is_word[ends] = False
        numbers = np.zeros(len(is_word), np.int64)
        numbers[is_word] = np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))
        lengths = self._words.sizes[numbers].astype(np.int64)
        ids = self._words.ids[places_of(self._words.starts[numbers], lengths)]
        sizes = np.diff(np.cumsum(lengths)[ends], prepend=0)
        return TokenTable.stored(ids, sizes)

    def _learn(self, words: list[str]) -> None:
        new = set(words) - self._numbers.keys()
        if not new:
            return
        if len(self._numbers) + len(new) > self._kept and self._numbers:
            self._forget()
            new = set(words)
        fresh = sorted(new)
        encodings = self._tokenizer.encode_batch_fast(fresh)
        rows = [encoding.ids[: len(encoding.ids) - len(self._end)] for encoding in encodings]
        self._numbers.update(zip(fresh, range(len(self._words), len(self._words) + len(fresh)), strict=True))
        self._words = TokenTable.join([self._words, TokenTable.of(rows)])
