"""Scores against sacreBLEU's command line and by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from lightning_modules.text_metrics import BleuTokenizer, ScoreName, names_of, score_texts, signature

HYPOTHESES = [
    "Ein Mann fährt Fahrrad, und ein Hund läuft nebenher.",
    "Zwei Kinder spielen im Garten.",
    "the cat sat on the mat",
    "Eine Frau mit Hut.",
]
REFERENCES = [
    ("Ein Mann fährt mit dem Fahrrad und ein Hund läuft nebenher.", "Ein Mann radelt, der Hund läuft nebenher."),
    ("Zwei Kinder spielen im Park.", "Zwei Kinder spielen im Garten."),
    ("The cat sat on a mat.", "There is a cat on the mat."),
    ("Eine Frau, die einen Hut trägt.", "Eine Frau mit einem Hut."),
]


@pytest.mark.parametrize("streams", [1, 2])
def test_bleu_and_chrf_are_those_of_the_command_line(streams: int, tmp_path: Path) -> None:
    references = [those[:streams] for those in REFERENCES]
    files = []
    for k in range(streams):
        files.append(tmp_path / f"references{k}.txt")
        files[-1].write_text("".join(f"{those[k]}\n" for those in references), encoding="utf-8")
    (tmp_path / "hypotheses.txt").write_text("".join(f"{text}\n" for text in HYPOTHESES), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", *map(str, files), "-i", str(tmp_path / "hypotheses.txt")]
    done = subprocess.run(
        [*command, "-m", "bleu", "chrf", "-w", "10", "-f", "json"], capture_output=True, text=True, check=True
    )
    bleu, chrf = json.loads(done.stdout)

    scores = score_texts(HYPOTHESES, references, ["bleu", "chrf"])

    assert scores == pytest.approx({"bleu": bleu["score"], "chrf": chrf["score"]}, abs=1e-9)
    assert 5 < scores["bleu"] < 95
    found = signature(references, ["bleu", "chrf"])
    assert found == f"bleu {bleu['signature']}; chrf {chrf['signature']}"
    assert f"nrefs:{streams}|case:mixed" in found
    assert "tok:13a" in found


def test_a_language_without_spaces_has_its_own_tokenizer() -> None:
    hypotheses, references = ["猫坐在垫子上"], [("猫坐在席子上",)]
    assert score_texts(hypotheses, references, ["bleu"])["bleu"] == 0  # one word against another
    score = score_texts(hypotheses, references, ["bleu"], "zh")["bleu"]
    # 5 of 6 characters, 3 of 5 bigrams, 1 of 4 trigrams, 0 of 3 4-grams (smoothed: half of one); equal lengths
    assert score == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 3) ** 0.25)
    assert "tok:zh" in signature(references, ["bleu"], "zh")


@pytest.mark.parametrize("tokenizer", get_args(BleuTokenizer))
def test_every_tokenizer_of_bleu_works_and_is_in_the_signature(tokenizer: BleuTokenizer) -> None:
    texts = ["The cat sat on the mat.", "猫坐在垫子上"]
    references = [(text,) for text in texts]
    assert score_texts(texts, references, ["bleu"], tokenizer)["bleu"] == pytest.approx(100)
    assert f"|tok:{tokenizer}|" in signature(references, ["bleu"], tokenizer)


def test_texts_may_have_different_numbers_of_references() -> None:
    """A reference given twice adds neither n-grams nor a length."""
    unequal = [those[: 1 + k % 2] for k, those in enumerate(REFERENCES)]
    doubled = [those if len(those) == 2 else (those[0], those[0]) for those in unequal]
    ours, theirs = (score_texts(HYPOTHESES, references, ["bleu", "chrf"]) for references in (unequal, doubled))
    assert ours == pytest.approx(theirs)
    assert "nrefs:var" in signature(unequal, ["bleu"])
    assert "nrefs:2" in signature(doubled, ["bleu"])


def test_names_of_lists_every_name_that_may_be_scored() -> None:
    every = get_args(ScoreName)
    assert names_of(every) == sorted(score_texts(HYPOTHESES, REFERENCES, every), key=names_of(every).index)
    assert set(score_texts(HYPOTHESES, [those[:1] for those in REFERENCES], every)) < set(names_of(every))


def test_exact_match_is_a_share_and_ignores_extra_white_space() -> None:
    references = [("a b",), ("a  b ", "x"), ("A b",), ("ab",)]
    assert score_texts(["a b", " a   b", "a b", "a b"], references, ["exact_match"]) == {"exact_match": 0.5}


def test_rouge_by_hand() -> None:
    """Lin 2004, sections 2 and 3, with F-measures of precision and recall."""
    hypotheses = ["the cat sat on the mat", "dogs bark"]
    references = [("The cat was on the mat.", "A cat sat."), ("Birds sing!",)]
    # The first text shares 5 of its 6 words with the 6 of its first reference, and 2 with the 3 of its second.
    one = (2 * 5 / (6 + 6), 2 * 2 / (6 + 3))
    # Bigrams: "the cat", "on the" and "the mat" of 5 and 5; "cat sat" of 5 and 2.
    two = (2 * 3 / (5 + 5), 2 * 1 / (5 + 2))
    # Longest common subsequences: "the cat on the mat"; "cat sat".
    longest = one
    expected = {}
    for name, (first, second) in {"rouge1": one, "rouge2": two, "rougeL": longest}.items():
        expected[name] = 100 * max(first, second) / 2  # the second text scores 0
        expected[f"{name}_mean"] = 100 * (first + second) / 2 / 2
    assert score_texts(hypotheses, references, ["rouge"]) == pytest.approx(expected, abs=1e-4)


def test_rouge_takes_the_best_reference_of_each_kind() -> None:
    """The reference that shares most words is not the one with the longest common subsequence."""
    references = [("d c b a", "a b x y z")]
    scores = score_texts(["a b c d"], references, ["rouge"])
    assert scores["rouge1"] == pytest.approx(100)
    assert scores["rouge2"] == pytest.approx(100 * 2 * 1 / (3 + 4))
    assert scores["rougeL"] == pytest.approx(100 * 2 * 2 / (4 + 5), abs=1e-4)


def test_with_one_reference_per_text_there_are_no_means() -> None:
    assert set(score_texts(["a"], [("a",)], ["rouge"])) == {"rouge1", "rouge2", "rougeL"}


def test_no_texts_have_no_scores_and_an_empty_text_scores_nothing() -> None:
    names = get_args(ScoreName)
    assert score_texts([], [], names) == {}
    assert set(score_texts([""], [("a b c d",)], names).values()) == {0.0}


def test_every_score_is_in_the_signature() -> None:
    found = signature([("a",)], ["exact_match", "rouge"])
    assert found.startswith("exact_match ")
    assert "rouge F-measure" in found
    assert "torchmetrics:" in found
