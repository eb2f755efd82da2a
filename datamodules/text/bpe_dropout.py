"""BPE-dropout: a text is divided into different tokens each time, so that a model learns what words consist of.

Provilkov et al. BPE-Dropout: Simple and Effective Subword Regularization. ACL 2020. arXiv:1910.13267.

The `tokenizers` library also has it, but its generator cannot be seeded: a resumed run would differ from one that was
never interrupted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datamodules.text.token_table import TokenTable
from utils.tokenizer_files import EOS_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class BPEDropout:
    """Texts that are tokenised differently at each `draw`: algorithm 1 of the paper.

    Args:
        tokenizer: A tokenizer with a plain BPE model.
        texts: The texts to tokenise.
        dropout: Probability of skipping each possible merge whenever the best one is sought. 0 gives the same tokens as
            the tokenizer, 1 gives single characters.

    Raises:
        ValueError: The tokenizer is of another kind.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], dropout: float) -> None:
        content = json.loads(tokenizer.to_str())
        model = content["model"]
        unusual = ("continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
        if model["type"] != "BPE" or any(model.get(field) for field in unusual):
            raise ValueError(
                f"data.bpe_dropout {dropout} needs a plain BPE tokenizer, got one of type {model['type']}: set "
                "data.tokenizer_model to bpe, or data.bpe_dropout to 0"
            )
        self.dropout = dropout
        ids = model["vocab"]
        self._merges = {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in enumerate(model["merges"])}
        # Distinct words, and ids of special tokens, are numbered in order of appearance; a text is a list of numbers.
        numbers: dict[str | int, int] = {}
        self._texts = [
            [numbers.setdefault(word, len(numbers)) for word in _words(tokenizer, content["added_tokens"], text)]
            for text in texts
        ]
        self._words = [[word] if isinstance(word, int) else _characters(model, word) for word in numbers]

    def draw(self, generator: np.random.Generator) -> TokenTable:
        """Return the ids of all texts, each with the end of the sequence: a pure function of the generator's state."""
        uniform = _uniform(generator)
        rows = []
        for text in self._texts:
            row = [token for word in text for token in self._merge(self._words[word], uniform)]
            rows.append([*row, EOS_ID])
        return TokenTable.of(rows)

    def _merge(self, characters: list[int], uniform: Iterator[float]) -> list[int]:
        """Return the tokens of a word: merge its characters until no merge is left, or all are skipped."""
        tokens, merges, dropout = characters, self._merges, self.dropout
        while True:
            best: tuple[int, int] | None = None  # rank of the merge, and the token it gives
            place = 0
            for left in range(len(tokens) - 1):
                merge = merges.get((tokens[left], tokens[left + 1]))
                if merge is not None and next(uniform) >= dropout and (best is None or merge < best):
                    best, place = merge, left
            if best is None:
                return tokens
            tokens = [*tokens[:place], best[1], *tokens[place + 2 :]]


def _words(tokenizer: Any, added: list[dict[str, Any]], text: str) -> Iterator[str | int]:
    """Yield the words of a text, within which tokens are merged, and the ids of special tokens between them."""
    known = {token["content"]: token["id"] for token in added}
    parts = re.split(f"({'|'.join(map(re.escape, known))})", text) if known else [text]
    for part in filter(None, parts):
        if part in known:
            yield known[part]
            continue
        normalized = tokenizer.normalizer.normalize_str(part) if tokenizer.normalizer else part
        if tokenizer.pre_tokenizer:
            yield from (word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized))
        else:
            yield normalized


def _characters(model: dict[str, Any], word: str) -> list[int]:
    """Return the ids of a word's characters; one without a token becomes its bytes or, if they have none, unknown."""
    ids = model["vocab"]
    tokens: list[int] = []
    for character in word:
        pieces = [character] if character in ids else [f"<0x{byte:02X}>" for byte in character.encode()]
        if all(piece in ids for piece in pieces):
            tokens += [ids[piece] for piece in pieces]
        elif model.get("unk_token") is not None:
            tokens.append(ids[model["unk_token"]])
    return tokens


def _uniform(generator: np.random.Generator) -> Iterator[float]:
    """Yield numbers in [0, 1) without end, drawn in blocks since single draws are slow."""
    while True:
        yield from generator.random(4096).tolist()
