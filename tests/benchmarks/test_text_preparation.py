"""The benchmark of the preparation of texts runs, in a small form, and writes what it measured."""

import json
from pathlib import Path

import pytest

from benchmarks import text_preparation


def test_sentences_are_the_same_every_time_and_have_words_and_numbers() -> None:
    some = list(text_preparation.sentences(8, seed=1))
    assert some == list(text_preparation.sentences(12, seed=1))[:8]
    assert some != list(text_preparation.sentences(8, seed=2))
    assert some[4].endswith(" 4.")
    assert all(4 <= len(sentence.split()) <= 21 for sentence in some)


def test_starts_take_pairs_from_the_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text_preparation.make_corpus(tmp_path, 300)
    for what, name in (("train", "all"), ("train", "all"), ("predict", "all")):
        text_preparation.run_start(tmp_path, what, name)
        measured = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert measured.keys() == {"seconds", "mib"}
        assert measured["seconds"] > 0
    assert len(list((tmp_path / "cache").glob("tokens-*.ids"))) == 2  # what is predicted are the sources


def test_memory_is_that_of_the_start_and_not_what_the_benchmark_itself_held(tmp_path: Path) -> None:
    text_preparation.make_corpus(tmp_path, 300)
    held = b"x" * 2**29  # Linux has a new process inherit the peak
    measured = text_preparation.measure(tmp_path, "train", "all")
    assert 0 < measured["mib"] < len(held) / 2**20
