"""What the datamodule of texts gives a prediction: files, tables and pipes, prefixes and columns."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from datamodules.text.preparation import Preparation
from datamodules.text.tasks import MixedTasks, TableFiles
from datamodules.text.token_table import TokenTable
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from tests.datamodules.text.counting import TOKENIZER, Counting, attach, make_data
from utils.batches import Seq2SeqBatch
from utils.tokenizer_files import EOS_ID


@pytest.mark.parametrize("world_size", [1, 2, 7])
def test_prediction_has_every_line_that_is_not_blank(tokenizer_file: str, tmp_path: Path, world_size: int) -> None:
    lines = ["3 x", "", "x " * 500, " \t", "😀 👩‍👩‍👧 ꙮ𐍈", "a\u2028b\x0cc\x85d", "", "9 x", ""]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    seen: dict[int, str] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rank in range(world_size):
            module = attach(
                make_data(Counting(), tokenizer_file, predict_path=str(tmp_path / "lines")), rank, world_size
            )
            for batch in module.predict_dataloader():
                for place, source, row in zip(batch.index.tolist(), batch.sources, batch.input_ids, strict=True):
                    assert place not in seen
                    assert row[row != 0][-1] == EOS_ID
                    assert len(row) <= 24
                    seen[place] = source
            assert module.predict_count == 9
    assert seen == {place: line for place, line in enumerate(lines) if line.strip()}
    messages = [str(warning.message) for warning in caught]
    truncated = [message for message in messages if "exceed data.max_source_length 24 and are truncated" in message]
    long = sum(len(TOKENIZER.encode(f"say: {line}").ids) > 24 for line in lines)
    assert long > 0
    assert len(truncated) == world_size
    assert f"{long} of 5 sources" in truncated[0]


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_prediction_of_a_few_batches_prepares_the_first_texts_alone(
    tmp_path: Path, tokenizer_file: str, monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    texts = [f"{number} " + "x " * (number % 7) for number in range(5000)]
    (tmp_path / "lines").write_text("\n".join(texts))
    encoded: list[int] = []
    encode = Preparation.encode

    def counting(self: Preparation, texts: Sequence[str], what: str) -> TokenTable:
        encoded.append(len(texts))
        return encode(self, texts, what)

    monkeypatch.setattr(Preparation, "encode", counting)

    def batches_with(limit: float) -> list[Seq2SeqBatch]:
        module = make_data(Counting(), tokenizer_file, predict_path=str(tmp_path / "lines"))
        batches = []
        for rank in range(world_size):
            attach(module, rank, world_size, stage="predict", limit_predict_batches=limit)
            batches += list(module.predict_dataloader())[: int(limit) if limit > 1 else None]
        assert module.predict_count == 5000
        return batches

    few = batches_with(3)
    assert len(few) == 3 * world_size
    assert max(encoded) < 1000
    assert all(texts[place] == text for batch in few for place, text in zip(batch.index, batch.sources, strict=True))
    encoded.clear()
    whole = [batch.index.tolist() for batch in batches_with(1.0)]
    assert sorted(place for places in whole for place in places) == list(range(5000))
    assert encoded == [5000] * world_size
    assert [batch.index.tolist() for batch in batches_with(10_000)] == whole  # which a limit leaves as it is


@pytest.mark.parametrize(("prefix", "expected"), [(None, "say: 3 x"), ("tell: ", "tell: 3 x"), ("", "3 x")])
def test_prediction_puts_the_prefix_of_the_task_or_another_before_a_line(
    tokenizer_file: str, tmp_path: Path, prefix: str | None, expected: str
) -> None:
    (tmp_path / "lines").write_text("3 x")
    module = make_data(Counting(), tokenizer_file, predict_prefix=prefix, predict_path=str(tmp_path / "lines"))
    (batch,) = module.predict_dataloader()
    assert batch.input_ids[0][batch.attention_mask[0]].tolist() == TOKENIZER.encode(expected).ids


def test_prediction_with_tasks_of_different_prefixes_needs_one_of_them(tokenizer_file: str, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("3 x")
    mixed = MixedTasks([Counting(2, "a: "), Counting(4, "b: ")])
    with pytest.raises(ValueError, match=r"data.predict_prefix is missing: .* one of the tasks: 'a: ', 'b: '"):
        make_data(mixed, tokenizer_file, predict_path=str(tmp_path / "lines")).predict_dataloader()


def predicted(module: TextSeq2SeqDataModule) -> dict[int, str]:
    """Return the sources to predict by their places, read as the Trainer has it done."""
    attach(module, stage="predict").prepare_data()
    module.setup("predict")
    batches = list(module.predict_dataloader())
    return {int(place): text for batch in batches for place, text in zip(batch.index, batch.sources, strict=True)}


@pytest.mark.parametrize(("field", "expected"), [(None, ["3 x", "5 x"]), ("other", ["", "7 x"])])
def test_prediction_reads_the_source_field_of_the_task_or_another(
    tokenizer_file: str, tmp_path: Path, field: str | None, expected: list[str]
) -> None:
    (tmp_path / "x.csv").write_text('other,en,source\n,3 x,a\n"7 x",5 x,b\n')
    task = TableFiles("train.csv", "val.csv", source_field="en")
    options: dict[str, Any] = {"predict_path": str(tmp_path / "x.csv"), "predict_field": field}
    module = make_data(task, tokenizer_file, **options)
    assert predicted(module) == {place: text for place, text in enumerate(expected) if text}
    assert module.predict_count == 2


def test_prediction_of_a_table_with_tasks_of_different_fields_needs_one_of_them(
    tokenizer_file: str, tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_text('{"en": "3 x", "source": "4 x"}\n')
    mixed = MixedTasks([TableFiles("train.csv", "val.csv", source_field="en"), Counting(prefix="")])
    options = {"predict_path": str(tmp_path / "x.jsonl")}
    with pytest.raises(ValueError, match=r"data.predict_field is missing: .* such as 'en', 'source'"):
        predicted(make_data(mixed, tokenizer_file, **options))
    assert predicted(make_data(mixed, tokenizer_file, predict_field="en", **options)) == {0: "3 x"}


def test_prediction_from_a_pipe(tokenizer_file: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"3 x\n\n4 x\n")
    os.close(writing)
    module = make_data(Counting(), tokenizer_file, predict_path=f"/dev/fd/{reading}")
    assert predicted(module) == {0: "3 x", 2: "4 x"}
    assert module.predict_count == 3
    os.close(reading)


def test_only_blank_texts_to_predict(tokenizer_file: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"source": " "}\n{"source": ""}\n')
    module = make_data(Counting(), tokenizer_file, predict_path=str(tmp_path / "x.jsonl"))
    assert predicted(module) == {}
    assert module.predict_count == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\n\xfe\n", "data.predict_path: .*lines, line 3: not UTF-8"),
        (b"", "data.predict_path: .*lines is empty"),
    ],
)
def test_bad_files_to_predict_are_named_before_anything_starts(
    tokenizer_file: str, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "lines").write_bytes(content)
    module = attach(make_data(Counting(), tokenizer_file, predict_path=str(tmp_path / "lines")), stage="predict")
    with pytest.raises(ValueError, match=message):
        module.prepare_data()
