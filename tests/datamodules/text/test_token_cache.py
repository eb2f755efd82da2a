"""Token ids kept on disk: the same as without, found again by content alone, and never believed when damaged."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from datamodules import token_cache
from datamodules.text.token_cache import TokenTable, encode_texts
from datamodules.text.tokenizer import train_tokenizer

TEXTS = ["one two", "", "three four five", "six"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 300, "bpe", num_sentinels=0)


def rows(table: TokenTable) -> list[list[int]]:
    return [table.row(number).tolist() for number in range(len(table))]


def test_rows_are_what_the_tokenizer_gives(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    monkeypatch.setattr(token_cache, "_AT_ONCE", 3)
    for cache in (None, str(tmp_path / "new/folder"), str(tmp_path / "new/folder")):
        table = encode_texts(tokenizer, TEXTS, cache)
        assert rows(table) == expected and table.lengths().tolist() == [len(row) for row in expected]
    assert [path.suffix for path in (tmp_path / "new/folder").iterdir()] == [".npz"]
    assert len(encode_texts(tokenizer, [], None)) == 0


def test_the_second_time_nothing_is_tokenised(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode_texts(tokenizer, TEXTS, str(tmp_path))

    def never(*_: object) -> TokenTable:
        raise AssertionError

    monkeypatch.setattr(token_cache, "_encode", never)
    assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == rows(first)
    # Other texts, another division of the same characters, another tokenizer: none of them may be taken for it.
    other = train_tokenizer(TEXTS[:1], 300, "bpe", num_sentinels=0)
    for changed, texts in (
        (tokenizer, TEXTS[:3]),
        (tokenizer, ["one two", "t", "hree four five", "six"]),
        (other, TEXTS),
    ):
        with pytest.raises(AssertionError):
            encode_texts(changed, texts, str(tmp_path))


def test_a_damaged_file_is_written_anew(tokenizer: Tokenizer, tmp_path: Path) -> None:
    expected = rows(encode_texts(tokenizer, TEXTS, str(tmp_path)))
    (file,) = tmp_path.iterdir()
    sound = file.read_bytes()
    flipped = bytearray(sound)
    flipped[sound.index(b"NUMPY") + 150] ^= 1  # one bit of the ids
    for damage in (b"", sound[:100], sound[:-30], bytes(flipped), b"\x93NUMPY"):
        file.write_bytes(damage)
        with pytest.warns(UserWarning, match="is damaged and will be written anew"):
            assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == expected
        assert file.read_bytes() == sound
    np.savez(file, ids=np.zeros(3, np.int32), starts=np.array([0, 3]))
    with pytest.warns(UserWarning, match="it holds something else"):
        assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rows(encode_texts(tokenizer, TEXTS, str(tmp_path))) == expected


def test_a_folder_that_cannot_be_written_costs_a_warning(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="tokenised data is not kept"):
        assert len(encode_texts(tokenizer, TEXTS, str(tmp_path / "file"))) == 4


def test_rows_are_cut_chosen_and_joined() -> None:
    table = TokenTable.of([[5, 6, 7, 1], [1], [8, 9, 1], [], [2, 3, 4, 5, 1]])
    assert rows(table.cut(3, 1)) == [[5, 6, 1], [1], [8, 9, 1], [], [2, 3, 1]]
    assert table.cut(5, 1) is table
    chosen = table.select(np.array([False, True, True, False, True]))
    assert rows(chosen) == [[1], [8, 9, 1], [2, 3, 4, 5, 1]]
    assert rows(TokenTable.joined([chosen, TokenTable.of([]), table])) == rows(chosen) + rows(table)
    assert rows(table) == [[5, 6, 7, 1], [1], [8, 9, 1], [], [2, 3, 4, 5, 1]]
