"""Characters that a tokenizer does not know: a search for them in texts, and a warning that names them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.text.token_table import TokenTable
from utils.tokenizer_files import unknown_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_EXAMINED = 1000  # number of affected texts in which unknown characters are sought
_NAMED = 5  # number of characters named in a warning
_BLOCK = 1 << 20  # number of ids compared at once
_LONGEST = 20  # maximum length of what is named, in characters


def warn_of_unknown_text(tokenizer: Tokenizer, texts: Sequence[str], table: TokenTable, what: str) -> None:
    """Warn how many texts have characters that the tokenizer does not know, and which.

    Args:
        tokenizer: The tokenizer.
        texts: The texts.
        table: Their ids.
        what: What the texts are, such as "train targets".
    """
    unknown = unknown_id(tokenizer)
    if unknown is None:
        affected, parts, read = _texts_with_dropped_characters(tokenizer, texts)
    else:
        places = _places_of(table.ids, unknown)
        affected = np.unique(np.searchsorted(table.starts, places, side="right") - 1)
        examined = [texts[row] for row in affected[:_EXAMINED].tolist()]
        parts, read = _unknown_parts(tokenizer, examined, unknown), f"reads as {tokenizer.id_to_token(unknown)}"
    if len(affected):
        named = ", ".join(_quoted(part) for part, _ in parts.most_common(_NAMED))
        rank_zero_warn(
            f"{what}: {len(affected):,} of {len(texts):,} have characters that the tokenizer does not know and {read}, "
            f"most often {named}: replace them, or train with a tokenizer that knows them (data.tokenizer null trains "
            "one that knows every character)"
        )


def _places_of(ids: np.ndarray, number: int) -> np.ndarray:
    """Return where an id is among the ids, of which there may be very many."""
    starts = range(0, len(ids), _BLOCK)
    found = [np.flatnonzero(ids[start : start + _BLOCK] == number) + start for start in starts]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _unknown_parts(tokenizer: Tokenizer, texts: list[str], unknown: int) -> Counter[str]:
    """Return how often each unknown character (each unknown word, for a tokenizer of words) occurs in the texts."""
    of_words = type(tokenizer.model).__name__ in ("WordLevel", "WordPiece")
    name = tokenizer.id_to_token(unknown)
    parts: Counter[str] = Counter()
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        for number, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            if number == unknown:
                part = text[first:last]
                parts.update([part] if of_words or part == name else part.replace(" ", ""))  # a tokenizer may join them
    return parts


def _texts_with_dropped_characters(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, Counter[str], str]:
    """Return which texts have characters for which the tokenizer gives no token at all, and how often each occurs."""
    nothing = tokenizer.encode("").ids
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    dropped = {character for character in counts if _is_mark(character) and tokenizer.encode(character).ids == nothing}
    affected = np.array([row for row, text in enumerate(texts) if dropped & set(text)] if dropped else [], np.int64)
    return affected, Counter({character: counts[character] for character in dropped}), "drops"


def _is_mark(character: str) -> bool:
    """Return whether a character is more than white space or an invisible sign, which any tokenizer may drop."""
    return not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf")


def _quoted(part: str) -> str:
    """Return a character with its code point, or the beginning of a longer part."""
    return f"{part!r} (U+{ord(part):04X})" if len(part) == 1 else repr(part[:_LONGEST])
