"""BLEU over Moses tokens, checked against hand-made tokens and products."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from scripts.moses_bleu import main, moses_tokens


def write(folder: Path, hypotheses: str, references: str) -> list[str]:
    (folder / "test_hypotheses.txt").write_text(hypotheses, encoding="utf-8")
    (folder / "test_references.txt").write_text(references, encoding="utf-8")
    return [str(folder), "--language", "en"]


def test_tokens_are_those_of_moses() -> None:
    assert moses_tokens(["A man's “red” dog, here.", ""], "en") == ["A man &apos;s &quot; red &quot; dog , here .", ""]
    assert moses_tokens(["Z. B. ein Hund."], "de") == ["Z. B. ein Hund ."]


def test_case_and_spaces_before_punctuation_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the n-grams of six tokens, 5/6, 3/5, 2/4 and 1/3 are right; the fourth root of their product is 0.5373."""
    main(write(tmp_path, "A man sees the dog .\n", "a Man sees the cat.\n"))
    printed = capsys.readouterr().out
    assert printed.startswith("BLEU 53.73 (")
    assert "case:lc" in printed
    assert "tok:none" in printed


def test_examples_may_have_unequal_numbers_of_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(write(tmp_path, "One two three four\nA b c d e\n", "five\tone two three four\na b c d e\n"))
    assert capsys.readouterr().out.startswith("BLEU 100.00 (")


def test_the_score_is_written_with_the_digest_of_its_hypotheses(tmp_path: Path) -> None:
    main([*write(tmp_path, "A b c d\n", "a b c d\n"), "--output", str(tmp_path / "out" / "moses_bleu.json")])
    written = json.loads((tmp_path / "out" / "moses_bleu.json").read_text())
    assert written["bleu"] == pytest.approx(100)
    assert "case:lc" in written["signature"]
    assert written["hypotheses_sha256"] == hashlib.sha256(b"A b c d\n").hexdigest()


def test_files_that_cannot_be_scored_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--language", "en"])
    assert "test_hypotheses.txt" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(write(tmp_path, "a\nb\n", "a\n"))
    assert "2 hypotheses but 1 lines of references" in capsys.readouterr().err


def test_a_missing_sacremoses_is_an_error_that_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacremoses", None)  # makes the import fail
    with pytest.raises(SystemExit):
        main(write(tmp_path, "a\n", "a\n"))
    assert "one-for-all[dev]" in capsys.readouterr().err
