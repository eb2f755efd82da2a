"""Training of tokenizers: ids as in T5, any text is preserved, and the result is reproducible."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from datamodules.text.tokenizer import TokenizerModel, main, sentinel_ids, train_tokenizer
from datamodules.text.toy_tasks import number_words

TEXTS = [f"There are {number_words(number)} (or {number}) words." for number in range(0, 90_000, 97)]
STRANGE = (
    "one",
    "There are 12,345 words.",
    "café naïve Straße",
    "😀👩‍👩‍👧‍👦🏳️‍🌈",
    "日本語 のテキスト",
    "שלום ᚠᛇᚻ 𐍈 ꙮ",
    "a\u0301 tab\u200bzero",
    "<0x41> {x} \\n \x07",
    "½ ﬁ …",
)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXTS, 480, request.param, num_sentinels=5)


def test_ids_are_those_of_t5(tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    assert 280 < size <= 480
    special = {token: tokenizer.token_to_id(token) for token in ("<pad>", "</s>", "<unk>", "<0x00>", "<0xFF>")}
    assert special == {"<pad>": 0, "</s>": 1, "<unk>": 2, "<0x00>": 3, "<0xFF>": 258}
    assert sentinel_ids(tokenizer) == [size - 1, size - 2, size - 3, size - 4, size - 5]
    assert sorted(tokenizer.get_vocab().values()) == list(range(size))
    assert tokenizer.encode("").ids == [1]
    assert tokenizer.encode("There are words").ids[-1] == 1


def test_any_text_is_preserved(tokenizer: Tokenizer) -> None:
    for text in (*STRANGE, *TEXTS[:50], *(chr(code) for code in range(0x21, 0x3000, 7))):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == " ".join(unicodedata.normalize("NFC", text).split()), text
        assert 2 not in ids, text


def test_what_no_token_covers_is_encoded_as_utf8(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("日").tokens[:-1]
    assert [token for token in tokens if token != "▁"] == [f"<0x{byte:02X}>" for byte in "日".encode()]
    # Half a character, which a model may generate, is not an error.
    assert isinstance(tokenizer.decode([3 + 0xE6, 3 + 0x97]), str)


def test_tokens_cross_no_border_of_a_word_a_digit_or_a_mark(tokenizer: Tokenizer) -> None:
    tokens = [token.removeprefix("▁") for token in tokenizer.get_vocab() if not token.startswith("<")]
    assert all(token.isalpha() or len(token) <= 1 for token in tokens)
    assert not any("▁" in token for token in tokens)
    assert {"▁are", "are"} & tokenizer.get_vocab().keys()


def test_white_space_and_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("  one \t two\u00a0three ").ids == tokenizer.encode("one two three").ids
    ids = tokenizer.encode("one <extra_id_0> two").ids
    assert sentinel_ids(tokenizer)[0] in ids
    assert tokenizer.decode([0, *ids, 0, 0]) == "one two"


def test_a_frequent_word_that_is_part_of_no_other_is_a_token(tokenizer: Tokenizer) -> None:
    assert "▁There" in tokenizer.get_vocab()


def test_rare_characters_leave_room_for_other_tokens() -> None:
    texts = [*TEXTS, *("".join(chr(0x4E00 + 50 * row + column) for column in range(50)) for row in range(20))]
    tokenizer = train_tokenizer(texts, 480, "unigram", num_sentinels=0)
    assert tokenizer.get_vocab_size() <= 480
    assert sum(len(token) > 2 and not token.startswith("<0x") for token in tokenizer.get_vocab()) > 40


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_two_processes_train_the_same_tokenizer(tmp_path: Path, model: TokenizerModel) -> None:
    (tmp_path / "text").write_text("\n".join(TEXTS[:200]))
    options = ["--vocab_size=400", "--num_sentinels=2", f"--model={model}", f"--output={tmp_path / 'one.json'}"]
    command = [sys.executable, "-m", "datamodules.text.tokenizer", *options, str(tmp_path / "text")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("tokens from 200 lines\n")
    train_tokenizer(TEXTS[:200], 400, model, 2).save(str(tmp_path / "other.json"))
    assert (tmp_path / "one.json").read_text() == (tmp_path / "other.json").read_text()


def test_the_help_of_the_command_prints_no_warnings() -> None:
    command = [sys.executable, "-m", "datamodules.text.tokenizer", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "vocabulary size, special tokens included (default: 8000)" in " ".join(done.stdout.split())


def test_the_command_names_bad_files_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_bytes(b"a\n\xff\n")
    for file, message in (("bad", "bad, line 2: not UTF-8"), ("none", "none does not exist")):
        with pytest.raises(SystemExit) as stop:
            main([str(tmp_path / file), "--output", str(tmp_path / "out.json")])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.json").exists()


def test_invalid_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"^vocab_size must be at least 375, .* 100 sentinels, got 300$"):
        train_tokenizer(TEXTS, 300)
    with pytest.raises(ValueError, match=r"^num_sentinels must be an integer of at least 0, got -1"):
        train_tokenizer(TEXTS, 400, num_sentinels=-1)
    with pytest.raises(ValueError, match="tokenizer_model must be one of 'unigram', 'bpe', got 'words'"):
        train_tokenizer(TEXTS, 300, "words")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no text to train"):
        train_tokenizer([" ", ""], 400)
