"""BPE-dropout against `tokenizers` where nothing is skipped, and against probabilities worked out by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from datamodules.text.bpe_dropout import BPEDropout
from datamodules.text.tokenizer import train_tokenizer
from tests.datamodules.text.counting import rows
from utils.tokenizer_files import EOS_ID

LINES = [
    f"the {noun} of the {other}, in {year}."
    for noun in ("house", "horse", "Haus")
    for other in "abc"
    for year in (1, 1990)
]
TEXTS = [
    *LINES,
    "",
    "   ",
    "the  Häuser\tof 😀 ꙮ the horse...",
    "e\u0301 is one letter, as \u00e9 is",
    "the <extra_id_2> of<extra_id_0> the</s>house <extra_id_99>",
    "thehouseofthehorse" * 9,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(LINES * 3, 340, "bpe", 4)


def draw(texts: BPEDropout, seed: int = 1) -> list[list[int]]:
    return rows(texts.draw(np.random.default_rng(seed)))


def test_without_dropout_the_tokens_are_those_of_the_tokenizer(tokenizer: Tokenizer) -> None:
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    assert draw(BPEDropout(tokenizer, TEXTS, 0.0)) == expected
    assert min(map(len, expected)) == 1
    assert len(expected[0]) < 16  # there were merges to make


def test_with_all_merges_skipped_the_tokens_are_characters_and_bytes(tokenizer: Tokenizer) -> None:
    for text, row in zip(TEXTS, draw(BPEDropout(tokenizer, TEXTS, 1.0)), strict=True):
        tokens = [tokenizer.id_to_token(token) or "" for token in row]
        assert row[-1] == EOS_ID
        assert all(len(token) == 1 or token[0] == "<" for token in tokens)
        assert tokenizer.decode(row) == tokenizer.decode(tokenizer.encode(text).ids)


def test_each_division_of_a_word_has_its_probability() -> None:
    """Merges ab, bc, abc = ab + c, in this order; p is the probability of skipping one.

    First, ab is made with probability 1 - p; if not, bc with 1 - p, after which no merge is left. After ab, abc is made
    with probability 1 - p.
    """
    tokens = {
        token: number for number, token in enumerate(["<pad>", "</s>", "<unk>", "a", "b", "c", "ab", "bc", "abc"])
    }
    small = Tokenizer(models.BPE(tokens, [("a", "b"), ("b", "c"), ("ab", "c")], unk_token="<unk>"))
    small.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    p, count = 0.3, 20_000
    drawn = draw(BPEDropout(small, ["abc"] * count, p), seed=7)
    found = Counter(" ".join(small.id_to_token(token) or "" for token in row[:-1]) for row in drawn)
    expected = {"abc": (1 - p) ** 2, "ab c": (1 - p) * p, "a bc": p * (1 - p), "a b c": p * p}
    assert {text: times / count for text, times in found.items()} == pytest.approx(expected, abs=4 * 0.5 / count**0.5)


def test_a_draw_depends_only_on_its_generator(tokenizer: Tokenizer) -> None:
    first, second = BPEDropout(tokenizer, TEXTS, 0.5), BPEDropout(tokenizer, TEXTS, 0.5)
    one = draw(first, 1)
    assert draw(first, 2) != one
    assert draw(first, 1) == draw(second, 1) == one
    assert [tokenizer.decode(row) for row in one] == [tokenizer.decode(tokenizer.encode(text).ids) for text in TEXTS]


def test_other_tokenizers_are_refused() -> None:
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, False))
    suffixed = Tokenizer(models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>"))
    for other, kind in ((unigram, "Unigram"), (suffixed, "BPE")):
        with pytest.raises(ValueError, match=rf"data\.bpe_dropout 0\.1 needs a plain BPE tokenizer.* type {kind}"):
            BPEDropout(other, ["a"], 0.1)
