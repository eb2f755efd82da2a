"""BPE-dropout against `tokenizers` where nothing is dropped, and against probabilities worked out by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from datamodules.text.bpe_dropout import BPEDropout
from datamodules.text.tokenizer import EOS_ID, train_tokenizer
from utils.random_streams import numpy_generator

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


def rows(table) -> list[list[int]]:
    return [table.row(number).tolist() for number in range(len(table))]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(LINES * 3, 340, "bpe", 4)


def test_nothing_dropped_is_what_the_tokenizer_gives(tokenizer: Tokenizer) -> None:
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    assert rows(BPEDropout(tokenizer, TEXTS, 0.0).draw(numpy_generator(1))) == expected
    assert min(map(len, expected)) == 1 and len(expected[0]) < 16  # some merges were there to be made


def test_everything_dropped_is_characters_and_bytes(tokenizer: Tokenizer) -> None:
    for text, row in zip(TEXTS, rows(BPEDropout(tokenizer, TEXTS, 1.0).draw(numpy_generator(1))), strict=True):
        pieces = [tokenizer.id_to_token(token) or "" for token in row]
        assert row[-1] == EOS_ID and all(len(piece) == 1 or piece[0] == "<" for piece in pieces)
        assert tokenizer.decode(row) == tokenizer.decode(tokenizer.encode(text).ids)


def test_how_often_each_way_of_cutting_comes_up() -> None:
    """Merges ab, bc, abc = ab + c, in this order; p the probability of passing one over.

    At first ab is taken with 1 - p; if not, bc with 1 - p, and then nothing goes with it. After ab, abc is with 1 - p.
    """
    pieces = {piece: place for place, piece in enumerate(["<pad>", "</s>", "<unk>", "a", "b", "c", "ab", "bc", "abc"])}
    made = Tokenizer(models.BPE(pieces, [("a", "b"), ("b", "c"), ("ab", "c")], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    p, count = 0.3, 20_000
    table = BPEDropout(made, ["abc"] * count, p).draw(numpy_generator(7))
    found = Counter(" ".join(made.id_to_token(token) or "" for token in row[:-1]) for row in rows(table))
    expected = {"abc": (1 - p) ** 2, "ab c": (1 - p) * p, "a bc": p * (1 - p), "a b c": p * p}
    assert {cut: times / count for cut, times in found.items()} == pytest.approx(expected, abs=4 * 0.5 / count**0.5)


def test_a_draw_depends_on_its_generator_alone(tokenizer: Tokenizer) -> None:
    first, second = BPEDropout(tokenizer, TEXTS, 0.5), BPEDropout(tokenizer, TEXTS, 0.5)
    one = rows(first.draw(numpy_generator(1, 2)))
    assert rows(first.draw(numpy_generator(1, 3))) != one
    assert rows(first.draw(numpy_generator(1, 2))) == rows(second.draw(numpy_generator(1, 2))) == one
    assert [tokenizer.decode(row) for row in one] == [tokenizer.decode(tokenizer.encode(text).ids) for text in TEXTS]


def test_other_tokenizers_are_refused() -> None:
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, False))
    suffixed = Tokenizer(models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>"))
    for other in (unigram, suffixed):
        with pytest.raises(ValueError, match=r"data\.bpe_dropout is 0\.1: it needs a plain BPE tokenizer"):
            BPEDropout(other, ["a"], 0.1)
