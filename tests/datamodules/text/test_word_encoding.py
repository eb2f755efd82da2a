"""Word by word, texts have the ids that the library gives them as a whole."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from datamodules.text.tokenizer import TokenizerModel, train_tokenizer
from datamodules.text.word_encoding import WordEncoder, divides_at_white_space
from tests.datamodules.text.counting import rows

TEXTS = ["Ein großer Hund läuft, schnell!", "two dogs run in 1234 parks", "été  naïve\tcafé", "größer als 3,5 km/h"]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    model: TokenizerModel = request.param
    return train_tokenizer(TEXTS * 3, 330, model, num_sentinels=3)


def as_a_whole(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [tokenizer.encode(text).ids for text in texts]


def test_ids_are_those_of_whole_texts(tokenizer: Tokenizer) -> None:
    letters = np.random.default_rng(0).choice(list("aeiouDnrst ,.!?'-0123 üß日本🙂\u0301\u0308\n\t"), (300, 40))
    texts = [*TEXTS, "", " ", "\n", *map("".join, letters)]
    encoder = WordEncoder(tokenizer)
    assert rows(encoder.encode(texts)) == as_a_whole(tokenizer, texts)
    assert rows(encoder.encode(texts[::-1])) == as_a_whole(tokenizer, texts[::-1])  # with the words it knows
    assert rows(encoder.encode([])) == []


def test_every_character_that_may_divide_words_divides_them_as_in_the_library(tokenizer: Tokenizer) -> None:
    odd = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")
    ]
    assert len(odd) > 100
    for texts in ([f"a{each}b", f"{each}a {each}", f"a{each}\u0308b {each}{each}"] for each in odd):
        assert rows(WordEncoder(tokenizer).encode(texts)) == as_a_whole(tokenizer, texts)


def test_special_tokens_in_a_text_are_found_in_its_words(tokenizer: Tokenizer) -> None:
    texts = ["a</s>b </s>", "<extra_id_0>x <pad> y<unk>", "< pad >", "<extra_id_0><extra_id_1>"]
    assert rows(WordEncoder(tokenizer).encode(texts)) == as_a_whole(tokenizer, texts)


def test_an_encoder_forgets_words_rather_than_grow_without_end(tokenizer: Tokenizer) -> None:
    encoder = WordEncoder(tokenizer, kept=20)
    for first in range(0, 100, 10):
        texts = [f"{number} dogs" for number in range(first, first + 10)]
        assert rows(encoder.encode(texts)) == as_a_whole(tokenizer, texts)
        assert len(encoder._numbers) <= 20
    many = [" ".join(map(str, range(50)))]
    assert rows(encoder.encode(many)) == as_a_whole(tokenizer, many)


def test_it_is_claimed_of_our_tokenizers_alone(tokenizer: Tokenizer) -> None:
    assert divides_at_white_space(tokenizer)
    assert divides_at_white_space(Tokenizer.from_str(tokenizer.to_str()))


@pytest.mark.parametrize("change", ["normalizer", "pre-tokenizer", "first", "none", "token", "dropout", "padding"])
def test_other_tokenizers_encode_whole_texts(change: str) -> None:
    other = train_tokenizer(TEXTS * 3, 330, "bpe", num_sentinels=0)
    if change == "normalizer":
        other.normalizer = normalizers.NFKC()
    elif change == "pre-tokenizer":
        other.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s"), "isolated")
    elif change == "first":
        metaspace = pre_tokenizers.Metaspace(prepend_scheme="first")
        other.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    elif change == "none":
        other = Tokenizer(models.WordLevel({"a": 0}, "a"))
    elif change == "token":
        other.add_tokens([AddedToken("new york")])
    elif change == "dropout":
        assert isinstance(other.model, models.BPE)
        other.model.dropout = 0.1
    elif change == "padding":
        other.enable_padding()
    assert not divides_at_white_space(other)
