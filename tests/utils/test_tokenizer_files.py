"""Tokenizer files: found in a folder, opened as they were saved, and published ones as SentencePiece reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, processors

from utils.tokenizer_files import find_tokenizer_file, load_tokenizer

TEXTS = [f"There are {number} words, or {number * 7}." for number in range(300)]


def make_tokenizer() -> Tokenizer:
    """Return a tokenizer of characters with T5's ids."""
    characters = sorted({character for text in TEXTS for character in text})
    tokenizer = Tokenizer(
        models.BPE({token: number for number, token in enumerate(["<pad>", "</s>", "<unk>", *characters])}, [])
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def test_a_file_is_found_by_its_name_or_in_its_folder(tmp_path: Path) -> None:
    assert find_tokenizer_file(tmp_path) is None
    assert find_tokenizer_file(tmp_path / "tokenizer.json") is None
    (tmp_path / "spiece.model").touch()
    assert find_tokenizer_file(tmp_path) == tmp_path / "spiece.model"
    (tmp_path / "tokenizer.json").touch()
    assert find_tokenizer_file(tmp_path) == tmp_path / "tokenizer.json"
    (tmp_path / "other.json").touch()
    assert find_tokenizer_file(tmp_path / "other.json") == tmp_path / "other.json"


def test_a_saved_tokenizer_is_loaded(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        assert load_tokenizer(path).to_str() == tokenizer.to_str()


def test_truncation_and_padding_of_a_published_file_are_switched_off(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    expected = tokenizer.encode(TEXTS[-1]).ids
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path)
    assert loaded.encode(TEXTS[-1]).ids == expected
    assert loaded.encode("1").ids[-1] == 1


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    message = f"tokenizer {tmp_path}: no such file, and no folder that holds tokenizer.json or spiece.model"
    with pytest.raises(FileNotFoundError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{}", "not json", ""])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer.json cannot be read") as raised:
        load_tokenizer(tmp_path)
    assert "\n" not in str(raised.value)


def change(saved: dict[str, Any], place: str) -> None:
    if place == "padding":
        saved["model"]["vocab"] |= {"<pad>": 1, "</s>": 0}
    elif place == "no end":
        saved["post_processor"] = None
    else:  # a start of sequence
        saved["post_processor"]["single"].insert(0, {"SpecialToken": {"id": "</s>", "type_id": 0}})


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("padding", "<pad> has id 1, but must have 0 as in T5"),
        ("no end", "must end each sequence with </s>"),
        ("start", "must end each sequence with </s> and begin it with nothing"),
    ],
)
def test_tokenizers_unlike_those_of_t5_are_refused(tmp_path: Path, place: str, message: str) -> None:
    saved = json.loads(make_tokenizer().to_str())
    change(saved, place)
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spiece.model like those published with T5."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "text").write_text("\n".join(TEXTS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "spiece"),
        vocab_size=60,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    return folder


def test_a_published_sentencepiece_model_is_read_as_sentencepiece_does(published: Path) -> None:
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(published / "spiece.model"))
    for path in (published, published / "spiece.model"):
        tokenizer = load_tokenizer(path)
        assert tokenizer.get_vocab_size() == 160
        assert [tokenizer.token_to_id(f"<extra_id_{number}>") for number in range(101)] == [*range(159, 59, -1), None]
        for text in (*TEXTS[:100], "unseen Words, and  spaces", "ﬁve"):
            assert tokenizer.encode(text).ids == [*oracle.encode(text), 1], text
            if 2 not in oracle.encode(text):
                assert tokenizer.decode(tokenizer.encode(text).ids) == oracle.decode(oracle.encode(text))


def test_a_damaged_sentencepiece_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"spiece.model cannot be read") as raised:
        load_tokenizer(tmp_path)
    assert "\n" not in str(raised.value)


def test_without_sentencepiece_the_error_names_the_fix(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ValueError, match=r"spiece.model needs SentencePiece: pip install") as raised:
        load_tokenizer(published)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model"])
def test_a_pointer_of_git_lfs_is_named_as_what_it_is(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n")
    with pytest.raises(ValueError, match=rf"{name} is a pointer of git-lfs.*`git lfs pull`"):
        load_tokenizer(tmp_path)
