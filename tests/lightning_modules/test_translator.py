"""What are sources: several strings, in whatever holds them."""

from collections.abc import Iterator
from typing import Any

import pytest

from lightning_modules.translator import sources_of
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
