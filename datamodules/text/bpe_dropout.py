"""BPE-dropout: texts cut into pieces otherwise each time, so that a model learns what words are made of.

Provilkov et al. BPE-Dropout: Simple and Effective Subword Regularization. ACL 2020. arXiv:1910.13267.

`tokenizers` has it too, by a generator that cannot be seeded: no run could go on as if it had never been interrupted.
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
    """Texts that are tokenised anew at each `draw`: algorithm 1 of the paper.

    Args:
        tokenizer: With a plain BPE model.
        texts: What to tokenise.
        dropout: The probability of each possible merge to be passed over, each time the best one is looked for; 0 gives
            what the tokenizer gives, 1 single characters.

    Raises:
        ValueError: The tokenizer is of another kind.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], dropout: float) -> None:
        content = json.loads(tokenizer.to_str())
        model = content["model"]
        unusual = ("continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
        if model["type"] != "BPE" or any(model.get(field) for field in unusual):
            raise ValueError(
                f"data.bpe_dropout is {dropout}: it needs a plain BPE tokenizer, and this one is {model['type']}: set "
                "data.tokenizer_model to bpe, or data.bpe_dropout to 0"
            )
        self.dropout = dropout
        ids = model["vocab"]
        self._merges = {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in enumerate(model["merges"])}
        numbers: dict[str | int, int] = {}  # of each word, or token that is no word, in the order in which they come
        self._texts = [
            [numbers.setdefault(word, len(numbers)) for word in _words(tokenizer, content["added_tokens"], text)]
            for text in texts
        ]
        self._words = [[word] if isinstance(word, int) else _characters(model, word) for word in numbers]

    def draw(self, generator: np.random.Generator) -> TokenTable:
        """The ids of all texts, each with the end of the sequence: a pure function of the generator's state."""
        uniform = _uniform(generator)
        rows = []
        for text in self._texts:
            row = [token for word in text for token in self._merged(self._words[word], uniform)]
            rows.append([*row, EOS_ID])
        return TokenTable.of(rows)

    def _merged(self, characters: list[int], uniform: Iterator[float]) -> list[int]:
        tokens, merges, dropout = characters, self._merges, self.dropout
        while True:
            best: tuple[int, int] | None = None  # rank, and what it makes
            place = 0
            for left in range(len(tokens) - 1):
                merge = merges.get((tokens[left], tokens[left + 1]))
                if merge is not None and next(uniform) >= dropout and (best is None or merge < best):
                    best, place = merge, left
            if best is None:
                return tokens
            tokens = [*tokens[:place], best[1], *tokens[place + 2 :]]


def _words(tokenizer: Any, added: list[dict[str, Any]], text: str) -> Iterator[str | int]:
    """The words of a text, within which pieces are merged, and the ids of tokens such as <extra_id_0> between them."""
    known = {token["content"]: token["id"] for token in added}
    parts = re.split(f"({'|'.join(map(re.escape, known))})", text) if known else [text]
    for part in filter(None, parts):
        if part in known:
            yield known[part]
            continue
        normal = tokenizer.normalizer.normalize_str(part) if tokenizer.normalizer else part
        if tokenizer.pre_tokenizer:
            yield from (word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
        else:
            yield normal


def _characters(model: dict[str, Any], word: str) -> list[int]:
    """The ids of a word's characters; one that is no piece is spelt in bytes, or unknown where there are none."""
    ids = model["vocab"]
    tokens: list[int] = []
    for character in word:
        spelt = [character] if character in ids else [f"<0x{byte:02X}>" for byte in character.encode()]
        if all(piece in ids for piece in spelt):
            tokens += [ids[piece] for piece in spelt]
        elif model.get("unk_token") is not None:
            tokens.append(ids[model["unk_token"]])
    return tokens


def _uniform(generator: np.random.Generator) -> Iterator[float]:
    """Numbers in [0, 1) without end, drawn many at once."""
    while True:
        yield from generator.random(4096).tolist()
