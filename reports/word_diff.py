"""Differences between two texts, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

_TOKEN = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
"""Space, one Chinese or Japanese character, a word, or a mark."""


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: The part.
        differs: Whether the other text does not have it there.
    """

    text: str
    differs: bool


class WordDiff(NamedTuple):
    """Two texts in pieces.

    Attributes:
        reference: The pieces of the first.
        hypothesis: The pieces of the second.
        equality: Share of words that both have in the same order, from 0 to 1.
    """

    reference: list[Piece]
    hypothesis: list[Piece]
    equality: float


def word_diff(reference: str, hypothesis: str) -> WordDiff:
    """Return the differences between two texts; joined, the pieces of each are the text itself."""
    first, second = _TOKEN.findall(reference), _TOKEN.findall(hypothesis)
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        for side, tokens in zip(pieces, (first[i1:i2], second[j1:j2]), strict=True):
            if tokens:
                side.append(Piece("".join(tokens), kind != "equal"))
    return WordDiff(*pieces, matcher.ratio())
