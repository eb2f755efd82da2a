"""What `predict` reads: one record per line or row, once, whatever kind of file it is, the same on every process."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datamodules.text.prediction_input import PredictionInput, Record
from tests.datamodules.trainers import fake_trainer


def records(path: Path, content: str | bytes, field: str = "source") -> list[Record]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return PredictionInput(str(path), field, "set the field").records()


def test_a_text_file_has_a_record_per_line(tmp_path: Path) -> None:
    assert records(tmp_path / "x.txt", "\ufeffa,b\r\n\n{}\u2028\n") == [(1, "a,b"), (2, ""), (3, "{}\u2028")]


TEXTS = ["Tuesday, the 3rd", 'quoted "word"', "two\nlines", "", " ", "ü\u2028\x85", "x" * 200_000]


def test_a_table_has_a_record_per_row_as_a_reader_of_another_kind_wrote_it(tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "source"], *([number, text] for number, text in enumerate(TEXTS)), []])
    content = (tmp_path / "x.csv").read_bytes()
    for name in ("x.csv", "x.CSV", "x.csv.gz"):
        given = gzip.compress(content) if name.endswith("gz") else content
        assert [record.text for record in records(tmp_path / name, given)] == TEXTS
    objects = "\n\n".join(json.dumps({"source": text, "id": 7}, ensure_ascii=False) for text in TEXTS) + "\n\n"
    assert [record.text for record in records(tmp_path / "x.jsonl", objects)] == TEXTS
    tsv = 'source\tid\na "b\t1\n\nc\t2\n'
    assert records(tmp_path / "x.tsv", tsv) == [(2, 'a "b'), (4, "c")]
    assert records(tmp_path / "x.tsv", tsv, "id") == [(2, "1"), (4, "2")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.csv",
            "text,id\na,1\n",
            r"line 2: no field 'source'; it has 'text', 'id'; set the field, or rename the file to .txt",
        ),
        ("x.jsonl", '{"source": "a"}\n{"text": "a"}\n', r"line 2: no field 'source'; it has 'text'; set the field"),
        ("x.jsonl", '{"source": null}', r"line 1: field 'source' must be text, got None"),
        ("x.jsonl", '\n{"source": 3}', r"line 2: field 'source' must be text, got 3"),
        ("x.jsonl", '{"source": "\\ud83d"}', r"line 1: field 'source' has .*half of a surrogate pair"),
        ("x.jsonl", '["a"]', r"line 1: a list, not an object"),
        ("x.csv", "source\n", "x.csv has no rows"),
        ("x.json", '[{"source": "a"}]', "x.json is JSON: rename it to .jsonl"),
        ("x.txt", "a\rb\n", "x.txt, line 1: a carriage return"),
    ],
)
def test_what_cannot_be_predicted_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^data.predict_path: .*{message}") as raised:
        records(tmp_path / name, content)
    assert "\n" not in str(raised.value)


def test_a_pipe_is_read_once_by_the_first_process_and_given_to_the_others() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\n\ntwo")
    os.close(writing)
    sent: list[Any] = []

    def broadcast(content: Any) -> Any:
        sent.append(content)
        return sent[0]

    path = f"/dev/fd/{reading}"
    first, second = (PredictionInput(path, "source", "") for _ in range(2))
    expected = [(1, "one"), (2, ""), (3, "two")]
    assert first.records() == expected  # as in `prepare_data`
    os.close(reading)
    for rank, given in enumerate((first, second)):
        given.share(fake_trainer(rank, 2, strategy=SimpleNamespace(broadcast=broadcast)))
        assert given.records() == expected
    assert sent[1:] == [None]
    first.share(fake_trainer())
    first.share(None)
    assert first.records() == expected
