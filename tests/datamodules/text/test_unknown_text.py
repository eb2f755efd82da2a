"""Characters that a tokenizer does not know: counted, named, and not claimed where there are none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from datamodules.text.token_cache import encode_texts
from datamodules.text.unknown_text import warn_of_unknown_text
from tests.datamodules.text.counting import TOKENIZER, prepare
from utils.tokenizer_files import load_tokenizer

LETTERS = ["<pad>", "</s>", "<unk>", "▁", *"abcdef"]


def warned(tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    """Return the warnings when these texts are encoded."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare(tokenizer=tokenizer).encode(texts, "val targets")
    return [str(warning.message) for warning in caught]


def ending(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, sentencepiece.SentencePieceProcessor]:
    """A spiece.model without bytes, as published with T5, and the library that trained it."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "text").write_text("\n".join(f"there are {n * 7} words" for n in range(300)), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "spiece"),
        vocab_size=40,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    return load_tokenizer(folder), sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))


def test_affected_texts_are_those_of_sentencepiece_and_the_characters_are_named(
    published: tuple[Tokenizer, sentencepiece.SentencePieceProcessor],
) -> None:
    tokenizer, oracle = published
    generator = np.random.default_rng(0)
    texts = [
        "".join(generator.choice(list("there words 7{}ü😀"), size=8, p=[*[0.96 / 13] * 13, *[0.01] * 4]))
        for _ in range(3000)
    ]
    texts += ["{{ {", "{ words {", "{"] * 40
    affected = [text for text in texts if 2 in oracle.encode(text)]
    (message,) = warned(tokenizer, texts)
    assert message.startswith(
        f"val targets: {len(affected):,} of 3,120 have characters that the tokenizer does not know and reads as <unk>, "
        "most often '{' (U+007B), "
    )
    assert "'ü' (U+00FC)" in message
    assert "'😀' (U+1F600)" in message
    assert "data.tokenizer null" in message
    assert warned(tokenizer, ["there are 77 words", "7"]) == []


def test_a_tokenizer_with_bytes_knows_every_character() -> None:
    assert warned(TOKENIZER, ["one ü 😀 {}", "\ue000 ꙮ"]) == []


def test_words_are_named_whole_and_a_literal_unk_as_such() -> None:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(LETTERS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(LETTERS[:3])
    (message,) = warned(ending(words), ["a dog", "b", "dog dog c", f"a {'long' * 9}", "<unk>"])
    assert "val targets: 4 of 5 have" in message
    assert "most often 'dog', 'longlonglonglonglong', '<unk>':" in message


def test_characters_that_leave_no_token_are_counted() -> None:
    dropping = ending(Tokenizer(models.BPE({token: n for n, token in enumerate(LETTERS)}, [])))
    (message,) = warned(dropping, ["abc", "a{b", "{ü\n \u200b", "b\tc"])
    assert "val targets: 2 of 4 have characters that the tokenizer does not know and drops, most often" in message
    assert "'{' (U+007B), 'ü' (U+00FC):" in message


def test_many_affected_texts_cost_no_second_encoding() -> None:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(LETTERS)}, unk_token="<unk>"))
    texts = ["zz"] * 5000
    table = encode_texts(ending(words), texts)
    encoded: list[int] = []

    class Counted:
        """The tokenizer, counting the texts whose offsets are asked for."""

        def __getattr__(self, name: str) -> object:
            return getattr(words, name)

        def encode_batch(self, some: list[str]) -> object:
            encoded.append(len(some))
            return words.encode_batch(some)

    with pytest.warns(UserWarning, match=r"x: 5,000 of 5,000 have characters"):
        warn_of_unknown_text(Counted(), texts, table, "x")  # type: ignore[arg-type]
    assert encoded == [1000]
