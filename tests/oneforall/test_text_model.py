"""What a loaded text model generates is what `oneforall predict` writes: prefix, truncation, samples."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import cli
from oneforall import TextModel

SOURCES = ["Monday, Aug 12, 1907", " ", "the 7th of November 1989", "the 31st of December 2024"]


def predicted(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[dict]:
    """Return what `predict` writes as JSON for the sources."""
    monkeypatch.setattr(sys, "argv", ["oneforall"])
    (folder / "sources.txt").write_text("\n".join(SOURCES) + "\n")
    data = ["--data.predict_path", str(folder / "sources.txt"), "--output", str(folder / "p.jsonl")]
    cli.main(["predict", "--ckpt_path", str(run), *data, *options])
    return [json.loads(line) for line in (folder / "p.jsonl").read_text().split("\n")[:-1]]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        ({"num_return_sequences": 3}, ["--model.num_return_sequences", "3"]),
        (
            {"do_sample": True, "top_k": 9, "temperature": 2.0, "min_length": 4, "num_return_sequences": 2},
            [
                *(
                    "--model.do_sample",
                    "true",
                    "--model.top_k",
                    "9",
                    "--model.temperature",
                    "2",
                    "--model.num_beams",
                    "1",
                ),
                *("--model.min_length", "4", "--model.num_return_sequences", "2"),
            ],
        ),
    ],
)
def test_texts_and_scores_are_those_of_predict(
    translator: TextModel,
    text_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict,
    flags: list[str],
) -> None:
    rows = predicted(text_run, tmp_path, monkeypatch, *flags)
    found = translator.n_best(SOURCES, **options)
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert [row["source"] for row in rows] == [SOURCES[0], "", *SOURCES[2:]]
    assert found[1] == rows[1]["hypotheses"] == []
    for several, row in zip(found, rows, strict=True):
        assert [each.text for each in several] == [each["text"] for each in row["hypotheses"]]
        assert [each.score for each in several] == pytest.approx(
            [each["score"] for each in row["hypotheses"]], rel=1e-4
        )
    one = {name: value for name, value in options.items() if name != "num_return_sequences"}
    if not options.get("do_sample"):  # samples depend on how many there are
        assert translator.translate(SOURCES, **one) == [each[0].text if each else "" for each in found]
        assert translator.translate(SOURCES[0], **one) == found[0][0].text


def test_samples_depend_on_the_seed_and_the_number_alone(translator: TextModel) -> None:
    sampling: dict[str, Any] = {"do_sample": True, "temperature": 3.0, "max_length": 10}
    together = translator.n_best(SOURCES, **sampling)
    alone = [translator.n_best([source], first=place, **sampling)[0] for place, source in enumerate(SOURCES)]
    assert [[each.text for each in found] for found in alone] == [[each.text for each in found] for found in together]
    assert translator.n_best([SOURCES[0]], first=5, **sampling)[0][0].text != together[0][0].text
    assert translator.n_best([SOURCES[0]], seed=5, **sampling)[0][0].text != together[0][0].text


@pytest.fixture
def given(translator: TextModel, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The token ids that the network is given, of each source; it generates nothing."""
    rows: list[list[int]] = []

    def generate(input_ids: Tensor, *others: Any) -> list[list[Any]]:
        rows.extend(input_ids.tolist())
        return [[] for _ in input_ids]

    monkeypatch.setattr(translator.module, "generate", generate)
    return rows


def ids_of(translator: TextModel, text: str) -> list[int]:
    assert translator.module.tokenizer is not None
    return translator.module.tokenizer.encode(text).ids


def test_the_prefix_is_put_before_each_text(translator: TextModel, given: list[list[int]]) -> None:
    translator.n_best([SOURCES[0]])
    translator.n_best([SOURCES[0]], prefix="")
    assert given == [ids_of(translator, f"date: {SOURCES[0]}"), ids_of(translator, SOURCES[0])]
    assert given[0] != given[1]


def test_one_of_several_prefixes_must_be_named(translator: TextModel) -> None:
    model = TextModel(translator.module, "x.ckpt", ["a: ", "b: "])
    with pytest.raises(ValueError, match=r"x\.ckpt was trained on several tasks: .*'a: ', 'b: '"):
        model.translate("c")
    assert model.translate("c", prefix="date: ") == translator.translate("c")


def test_long_sources_are_truncated_as_in_predict(translator: TextModel, given: list[list[int]]) -> None:
    long = " ".join(SOURCES[2:] * 9)
    ids = ids_of(translator, "date: " + long)
    with pytest.warns(UserWarning, match=r"1 of 2 sources exceed the maximum source length 32 and are truncated"):
        translator.n_best([long, SOURCES[0]])
    assert given[0] == [*ids[:31], 1]
    assert len(ids) > 32
