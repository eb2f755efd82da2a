"""Tokenizers: ids as in T5, any text survives, published ones load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from datamodules.text.tokenizer import load_tokenizer, main, sentinel_ids, train_tokenizer
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


def test_ids_are_t5s(tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    assert 280 < size <= 480
    assert [tokenizer.token_to_id(token) for token in ("<pad>", "</s>", "<unk>", "<0x00>", "<0xFF>")] == [
        *(0, 1, 2),
        *(3, 258),
    ]
    assert sentinel_ids(tokenizer) == [size - 1, size - 2, size - 3, size - 4, size - 5]
    assert sorted(tokenizer.get_vocab().values()) == list(range(size))
    assert tokenizer.encode("").ids == [1] and tokenizer.encode("There are words").ids[-1] == 1


def test_any_text_survives(tokenizer: Tokenizer) -> None:
    import unicodedata

    for text in (*STRANGE, *TEXTS[:50], *(chr(code) for code in range(0x21, 0x3000, 7))):
        ids = tokenizer.encode(text).ids
        expected = " ".join(unicodedata.normalize("NFC", text).split())
        assert tokenizer.decode(ids) == expected and 2 not in ids, text


def test_what_no_piece_covers_is_spelt_in_utf8(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("日").tokens[:-1]
    assert [token for token in tokens if token != "▁"] == [f"<0x{byte:02X}>" for byte in "日".encode()]
    # Half a character, as a model may write it, is no error.
    assert isinstance(tokenizer.decode([3 + 0xE6, 3 + 0x97]), str)


def test_pieces_cross_no_border_of_a_word_a_digit_or_a_mark(tokenizer: Tokenizer) -> None:
    pieces = [token.removeprefix("▁") for token in tokenizer.get_vocab() if not token.startswith("<")]
    assert all(piece.isalpha() or len(piece) <= 1 for piece in pieces)
    assert not any("▁" in piece for piece in pieces)
    assert "▁are" in tokenizer.get_vocab() or "are" in tokenizer.get_vocab()


def test_white_space_and_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("  one \t two\u00a0three ").ids == tokenizer.encode("one two three").ids
    ids = tokenizer.encode("one <extra_id_0> two").ids
    assert sentinel_ids(tokenizer)[0] in ids
    assert tokenizer.decode([0, *ids, 0, 0]) == "one two"


def test_a_tokenizer_is_saved_and_opened_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert load_tokenizer(path).to_str() == tokenizer.to_str()
    # Published files may ask for a length that every text is brought to.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    assert load_tokenizer(tmp_path).encode(TEXTS[-1]).ids == tokenizer.encode(TEXTS[-1]).ids


def test_training_does_not_depend_on_the_process(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n".join(TEXTS[:200]))
    for number, model in enumerate(("unigram", "bpe")):
        output = str(tmp_path / f"{number}.json")
        arguments = ["--vocab_size=400", "--num_sentinels=2", f"--model={model}", f"--output={output}"]
        main([*arguments, str(tmp_path / "text")])
        assert Path(output).read_text() == _saved(train_tokenizer(TEXTS[:200], 400, model, 2), tmp_path)  # type: ignore[arg-type]


def _saved(tokenizer: Tokenizer, folder: Path) -> str:
    tokenizer.save(str(folder / "other.json"))
    return (folder / "other.json").read_text()


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"a\n\xff\n")
    command = [sys.executable, "-m", "datamodules.text.tokenizer", str(tmp_path / "bad")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "bad, line 2: no valid UTF-8" in done.stderr.splitlines()[-1]


def test_impossible_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vocab_size is 300: it must be at least 375"):
        train_tokenizer(TEXTS, 300)
    with pytest.raises(ValueError, match="must be one of unigram, bpe"):
        train_tokenizer(TEXTS, 300, "words")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no text to train"):
        train_tokenizer([" ", ""], 400)
    with pytest.raises(FileNotFoundError, match=r"no folder with a tokenizer.json or spiece.model"):
        load_tokenizer(tmp_path)
    for content in ("{}", "no json"):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(ValueError, match=r"tokenizer.json cannot be read"):
            load_tokenizer(tmp_path)
    saved = json.loads(train_tokenizer(TEXTS, 400, num_sentinels=0).to_str())
    saved["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="must end each sequence with </s>"):
        load_tokenizer(tmp_path)


def test_rare_characters_leave_room_for_pieces() -> None:
    texts = [*TEXTS, *("".join(chr(0x4E00 + 50 * row + column) for column in range(50)) for row in range(20))]
    tokenizer = train_tokenizer(texts, 480, "unigram", num_sentinels=0)
    assert tokenizer.get_vocab_size() <= 480
    assert sum(len(token) > 2 and not token.startswith("<0x") for token in tokenizer.get_vocab()) > 40


def test_a_published_sentencepiece_model_loads(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n".join(TEXTS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=120,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    for path in (tmp_path, tmp_path / "spiece.model"):
        tokenizer = load_tokenizer(path)
        assert tokenizer.get_vocab_size() == 220 and sentinel_ids(tokenizer) == list(range(219, 119, -1))
        for text in (*TEXTS[:100], "unseen Words, and  spaces", "ﬁve"):
            assert tokenizer.encode(text).ids == [*oracle.encode(text), 1], text
            if 2 not in oracle.encode(text):
                assert tokenizer.decode(tokenizer.encode(text).ids) == oracle.decode(oracle.encode(text))
