"""What are sources: several strings, in whatever holds them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from architectures.t5.next_tokens import mask_forbidden
from lightning_modules.translator import sources_of, text_search
from oneforall import TextModel
from tests.architectures.t5.oracle import CONFIGS
from tests.exports.models import make_translator

SOURCES = ["two dogs", "", "A man is sleeping."]


@pytest.fixture(scope="module")
def model() -> TextModel:
    return make_translator(CONFIGS["tied"], num_beams=1)


def once(texts: list[str]) -> Iterator[str]:
    """Yield texts, as an open file does, once."""
    yield from texts


def test_an_iterator_of_sources_is_as_good_as_a_list(model: TextModel) -> None:
    assert len(expected := model.translate(SOURCES)) == 3
    assert model.translate(once(SOURCES)) == expected  # type: ignore[call-overload]
    assert model.module.translate(once(SOURCES)) == model.module.translate(SOURCES)  # type: ignore[call-overload]


@pytest.mark.parametrize("min_length", [0, 1, 3, 8])
def test_the_minimum_length_of_a_text_counts_its_end(min_length: int) -> None:
    search, end, tokens = text_search(max_length=8, min_length=min_length), 1, 20
    start = torch.zeros(1, 1, 1, dtype=torch.long)
    lengths = [
        count + 1  # the tokens after the start, and the end
        for count in range(8)
        if mask_forbidden(torch.zeros(1, 1, tokens), start.expand(1, 1, 1 + count), search, end)[0, 0, end] == 0
    ]
    assert lengths == list(range(max(min_length, 1), 9))


@pytest.mark.parametrize("length", [0, -3])
def test_a_maximum_length_of_sources_is_positive(model: TextModel, length: int) -> None:
    with pytest.raises(ValueError, match="max_source_length must be an integer of at least 1"):
        model.module.translate(SOURCES, max_source_length=length)


def test_several_texts_for_one_source_are_asked_of_n_best(model: TextModel) -> None:
    with pytest.raises(ValueError, match="translate returns one text for each source: call n_best"):
        model.translate(["a"], num_return_sequences=3)


def test_one_string_is_not_a_list_of_its_characters(model: TextModel) -> None:
    for several in (model.n_best, model.module.n_best):
        with pytest.raises(ValueError, match=r"texts must be several strings, such as a list, got str"):
            several("two dogs")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (b"two dogs", r"texts must be several strings, .* got bytes"),
        (None, r"texts must be several strings, .* got NoneType"),
        (["two dogs", 5], r"texts\[1\] must be a string, got int"),
        ([["two dogs"]], r"texts\[0\] must be a string, got list"),
        ([None], r"texts\[0\] must be a string, got NoneType"),
        ([b"two dogs"], r"texts\[0\] must be a string, got bytes"),
    ],
)
def test_what_is_no_text_is_named(texts: Any, message: str, model: TextModel) -> None:
    for translate in (model.translate, model.module.translate, sources_of):
        with pytest.raises(ValueError, match=message):
            translate(texts)
