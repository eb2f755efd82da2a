"""Token ids on disk: the same as without a cache, found again by content alone, and never used when damaged."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from datamodules.text import token_cache
from datamodules.text.token_cache import encode_texts
from datamodules.text.token_file import write_table
from datamodules.text.token_table import TokenTable
from datamodules.text.tokenizer import train_tokenizer
from tests.datamodules.text.counting import rows
from utils.tokenizer_files import EOS_ID

TEXTS = ["one two", "", "three four five", "six"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 300, "bpe", num_sentinels=0)


def test_rows_are_those_of_the_tokenizer(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    monkeypatch.setattr(token_cache, "_CHUNK", 3)
    for cache in (None, str(tmp_path / "new/folder"), str(tmp_path / "new/folder")):
        table = encode_texts(tokenizer, TEXTS, cache)
        assert rows(table) == expected
        assert table.lengths().tolist() == [len(row) for row in expected]
    assert [path.suffix for path in (tmp_path / "new/folder").iterdir()] == [".ids"]
    assert len(encode_texts(tokenizer, [], None)) == 0


def test_an_id_is_left_out_wherever_it_occurs(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = [*TEXTS, "one</s>two </s>"]  # a literal one, too
    expected = [[token for token in tokenizer.encode(text).ids if token != EOS_ID] for text in texts]
    assert tokenizer.encode(texts[-1]).ids.count(EOS_ID) == 3
    whole = rows(encode_texts(tokenizer, texts, str(tmp_path)))
    for cache in (None, str(tmp_path), str(tmp_path)):
        assert rows(encode_texts(tokenizer, texts, cache, dropped=EOS_ID)) == expected
    assert rows(encode_texts(tokenizer, texts, str(tmp_path))) == whole  # each has its file
    assert len(list(tmp_path.iterdir())) == 2


def test_ids_beyond_16_bits_are_kept(tmp_path: Path) -> None:
    large = Tokenizer(WordLevel({f"w{number}": number for number in range(70_000)}, unk_token="w0"))
    large.pre_tokenizer = WhitespaceSplit()
    for cache in (None, str(tmp_path), str(tmp_path)):
        table = encode_texts(large, ["w7 w65535", "w65536 w69999"], cache)
        assert rows(table) == [[7, 65_535], [65_536, 69_999]]


def test_a_chunk_of_long_texts_has_fewer_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "_CHUNK", 3)
    monkeypatch.setattr(token_cache, "_CHARACTERS", 10)
    texts = ["a" * 4, "b" * 4, "c" * 4, "d" * 30, "", "e", "f", "g"]
    assert [list(map(len, chunk)) for chunk in token_cache._chunks(texts)] == [[4, 4, 4], [30], [0, 1, 1], [1]]
    assert [text for chunk in token_cache._chunks(texts) for text in chunk] == texts


def test_the_second_time_nothing_is_tokenised(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode_texts(tokenizer, TEXTS, str(tmp_path))

    def never(*_: object) -> Iterator[TokenTable]:
        raise AssertionError

    monkeypatch.setattr(token_cache, "_encode", never)
    assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == rows(first)
    # Other texts, another division of the same characters and another tokenizer must not be taken for it.
    other = train_tokenizer(TEXTS[:1], 300, "bpe", num_sentinels=0)
    for changed, texts in (
        (tokenizer, TEXTS[:3]),
        (tokenizer, ["one two", "t", "hree four five", "six"]),
        (other, TEXTS),
    ):
        with pytest.raises(AssertionError):
            encode_texts(changed, texts, str(tmp_path))


def test_a_damaged_file_is_written_again(tokenizer: Tokenizer, tmp_path: Path) -> None:
    expected = rows(encode_texts(tokenizer, TEXTS, str(tmp_path)))
    (file,) = tmp_path.iterdir()
    intact = file.read_bytes()
    flipped = bytearray(intact)
    flipped[2] ^= 1  # one bit of the ids
    for damage in (b"", intact[:20], intact[:-30], bytes(flipped), b"something else"):
        file.write_bytes(damage)
        with pytest.warns(UserWarning, match="is damaged and will be written again"):
            assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == expected
        assert file.read_bytes() == intact
    with file.open("wb") as stream:
        write_table([TokenTable.of([[3, 1]])], stream, np.dtype(np.uint16))
    with pytest.warns(UserWarning, match="its number of rows is not the number of texts"):
        assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == expected


def test_a_folder_that_cannot_be_written_to_only_warns(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="tokenised texts cannot be cached"):
        assert len(encode_texts(tokenizer, TEXTS, str(tmp_path / "file"))) == 4
