"""Tasks: examples read from files, and their preparation for training and evaluation."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from datamodules.text.span_corruption import SpanCorruption
from datamodules.text.tasks import Example, MixedTasks, PairedFiles, TableFiles, TextTask
from datamodules.text.toy_tasks import NumberTask, ReverseTask
from datamodules.text.training_pairs import TrainingPart
from tests.datamodules.text.counting import TOKENIZER, Counting, prepare, rows
from utils.tokenizer_files import EOS_ID

DATA = Path("../shared/data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")


# --- examples ------------------------------------------------------------------------------------------------------


def paired(folder: Path, source: bytes, target: bytes) -> PairedFiles:
    (folder / "a").write_bytes(source)
    (folder / "b").write_bytes(target)
    files = str(folder / "a"), str(folder / "b")
    return PairedFiles(*files, *files)


def table(folder: Path, name: str, content: str, **fields: Any) -> TableFiles:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    return TableFiles(str(folder / name), str(folder / name), **fields)


def test_lines_are_paired_plain_or_gzip(tmp_path: Path) -> None:
    task = paired(tmp_path, "one\x0c1\r\ntwo\u20282\n".encode(), gzip.compress("eins\nzwei ü".encode()))
    examples = task.examples("train")
    assert list(examples) == [Example("one\x0c1", ("eins",)), Example("two\u20282", ("zwei ü",))]
    assert [examples[0], examples[-1]] == list(examples) == examples[:]
    with pytest.raises(ValueError, match=r"^PairedFiles has no test data: set test_source to a file$"):
        task.examples("test")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (b"a\nb\n", b"c\n", "^train_source .*a has 2 lines and train_target .*b has 1: line n of one must"),
        (b"", b"c\n", "^train_source: .*a is empty"),
        (b"a\nb\n", b"c\nd\xff\n", "^train_target: .*b, line 2: not UTF-8"),
        (b"a\nb\n", b"c\n \n", "^train_target: .*b, line 2: empty target"),
        (b"\nb\n", b"c\nd\n", "^train_source: .*a, line 1: empty source"),
    ],
)
def test_bad_pairs_are_named(tmp_path: Path, source: bytes, target: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired(tmp_path, source, target).examples("train")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="val_target: the file nowhere does not exist"):
        PairedFiles(__file__, __file__, __file__, "nowhere").examples("val")


def test_rows_of_tables_are_examples_with_one_or_more_references(tmp_path: Path) -> None:
    fields = {"source_field": "en", "target_field": "de"}
    assert table(tmp_path, "x.tsv", 'en\tid\tde\na "b\t1\tc\n', **fields).examples("val") == [Example('a "b', ("c",))]
    csv = 'id,en,de\n1,"a, b\nc","d ""e"""\n2,f,g\n'
    assert table(tmp_path, "x.csv", csv, **fields).examples("train") == [
        Example("a, b\nc", ('d "e"',)),
        Example("f", ("g",)),
    ]
    objects = [{"en": "a", "de": ["b", "c"]}, {"en": "d", "de": "e", "other": 3}]
    jsonl = "\n".join(json.dumps(each) for each in objects)
    assert table(tmp_path, "x.jsonl", jsonl, **fields).examples("train") == [
        Example("a", ("b", "c")),
        Example("d", ("e",)),
    ]
    with pytest.raises(ValueError, match="TableFiles has no test data: set test to a file"):
        table(tmp_path, "x.jsonl", jsonl, **fields).examples("test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "source,target\na,\n", "x.csv, line 2: field 'target' is empty"),
        ("x.csv", "source,target\n", "x.csv has no rows"),
        ("x.tsv", "source\ttarget\na\t \n", "x.tsv, line 2: field 'target' is empty"),
        ("x.jsonl", '{"source": "a", "target": null}', "x.jsonl, line 1: field 'target' must be text, got None"),
        ("x.jsonl", '{"source": 3, "target": "b"}', "x.jsonl, line 1: field 'source' must be text, got 3"),
        ("x.jsonl", '{"source": "a", "target": []}', "x.jsonl, line 1: field 'target' is empty"),
        ("x.jsonl", '{"source": "a", "target": ["b", " "]}', "x.jsonl, line 1: field 'target' is empty"),
        ("x.jsonl", '{"source": "a", "target": ["b", 1]}', "x.jsonl, line 1: field 'target' must be text, got 1"),
        ("x.jsonl", '{"source": "a", "target": "b\\ud83d"}', r"x.jsonl, line 1: field 'target' has '\\ud83d', half of"),
    ],
)
def test_bad_fields_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^train: .*{message}"):
        table(tmp_path, name, content).examples("train")


def test_a_mixture_has_the_parts_and_examples_of_its_tasks() -> None:
    sizes: dict[str, Any] = {"num_val": 2, "num_test": 2}
    tasks: list[TextTask] = [
        ReverseTask(num_train=5, **sizes, prefix="reverse: "),
        NumberTask(num_train=3, **sizes, weight=0.5),
    ]
    mixed = MixedTasks([*tasks, MixedTasks(tasks[:1])])
    assert mixed.parts() == [*tasks, tasks[0]]
    assert mixed.examples("train") == [example for task in mixed.parts() for example in task.examples("train")]
    assert len(mixed.examples("train")) == 13
    with pytest.raises(ValueError, match="tasks is empty"):
        MixedTasks([])


@pytest.mark.parametrize("weight", [0, -1.0, float("inf")])
def test_invalid_weights_are_named(weight: float) -> None:
    with pytest.raises(ValueError, match=f"^ReverseTask: weight must be a number above 0, got {weight}$"):
        ReverseTask(weight=weight)


def test_a_command_line_can_name_any_task() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--task", type=TextTask)
    names = [f"--task.{split}_{side}={split}.{side}" for split in ("train", "val") for side in ("source", "target")]
    config = parser.parse_args(["--task=datamodules.text.tasks.PairedFiles", *names, "--task.prefix=translate: "])
    task = parser.instantiate(config).task
    assert isinstance(task, PairedFiles)
    assert task.prefix == "translate: "
    assert task.files["val"] == ("val.source", "val.target")
    assert task.files["test"] == (None, None)
    toy = {"class_path": "datamodules.text.toy_tasks.ReverseTask", "init_args": {"num_train": 7, "letters": "xyz"}}
    spans = {"class_path": "datamodules.text.span_corruption.SpanCorruption", "init_args": {"train": "t", "val": "v"}}
    mixed = {"class_path": "datamodules.text.tasks.MixedTasks", "init_args": {"tasks": [toy, spans]}}
    first, second = parser.instantiate(parser.parse_object({"task": mixed})).task.parts()
    assert isinstance(first, ReverseTask)
    assert first.sizes["train"] == 7
    assert first.letters == "xyz"
    assert isinstance(second, SpanCorruption)
    assert second.files["val"] == "v"


@needs_data
def test_real_files_have_the_published_numbers_of_examples() -> None:
    files: dict[str, Any] = {
        f"{split}_{side}": str(DATA / f"multi30k/{name}.{language}.gz")
        for split, name in (("train", "train"), ("val", "val"), ("test", "test_2016_flickr"))
        for side, language in (("source", "en"), ("target", "de"))
    }
    task = PairedFiles(**files)
    assert [len(task.examples(split)) for split in ("train", "val", "test")] == [29_000, 1014, 1000]  # type: ignore[arg-type]
    assert task.examples("train")[0].references == (
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    )
    summaries = TableFiles(str(DATA / "scitldr/train.jsonl"), str(DATA / "scitldr/dev.jsonl"), target_field="targets")
    assert len(summaries.examples("train")) == 1992
    assert max(len(example.references) for example in summaries.examples("val")) > 1


# --- preparation ---------------------------------------------------------------------------------------------------


def encode(text: str, max_length: int) -> list[int]:
    ids = TOKENIZER.encode(text).ids
    return ids if len(ids) <= max_length else [*ids[: max_length - 1], EOS_ID]


def pairs_of(part: TrainingPart, cycle: int = 0) -> list[tuple[list[int], list[int]]]:
    pairs = [part.pair(cycle, position) for position in range(len(part))]
    return [(source.tolist(), target.tolist()) for source, target in pairs]


def test_a_tokenizer_is_trained_on_sources_with_prefix_and_all_references() -> None:
    task = Counting(2, references=2)
    assert task.tokenizer_texts(task.examples("train")) == [
        *("say: 0 ", "zero zero", "one one zero"),
        *("say: 1 x ", "zero one", "one one one"),
    ]


def test_training_pairs_are_the_encoded_examples() -> None:
    task = Counting(weight=0.5)
    part = task.training_part(task.examples("train"), 0, prepare(max_source_length=99, max_target_length=99))
    assert part.weight == 0.5
    assert pairs_of(part) == [
        (TOKENIZER.encode(f"say: {source}").ids, TOKENIZER.encode(reference).ids)
        for source, (reference,) in task.examples("train")
    ]


def test_long_pairs_are_truncated_and_counted() -> None:
    task = Counting()
    examples = task.examples("train")
    long = sum(len(TOKENIZER.encode(f"say: {example.source}").ids) > 12 for example in examples)
    wide = sum(len(TOKENIZER.encode(example.references[0]).ids) > 3 for example in examples)
    assert 0 < long < 45
    assert 0 < wide < 45
    with pytest.warns(UserWarning, match="exceed data.max") as caught:
        part = task.training_part(examples, 0, prepare(max_source_length=12, max_target_length=3))
    assert [str(warning.message) for warning in caught] == [
        f"train: {long} of 45 sources exceed data.max_source_length 12 and are truncated",
        f"train: {wide} of 45 targets exceed data.max_target_length 3 and are truncated",
    ]
    assert pairs_of(part) == [(encode(f"say: {source}", 12), encode(reference, 3)) for source, (reference,) in examples]


@pytest.mark.parametrize("bpe_dropout", [0.0, 1e-9])
def test_long_pairs_are_dropped_with_all_their_references(bpe_dropout: float) -> None:
    task = Counting(references=2)
    examples = task.examples("train")
    options = {"over_length": "drop", "max_source_length": 12, "max_target_length": 6, "bpe_dropout": bpe_dropout}
    kept = [
        example
        for example in examples
        if len(TOKENIZER.encode(f"say: {example.source}").ids) <= 12
        and all(len(TOKENIZER.encode(reference).ids) <= 6 for reference in example.references)
    ]
    assert 0 < len(kept) < 45
    with pytest.warns(UserWarning, match="are dropped"):
        part = task.training_part(examples, 0, prepare(**options))
    for cycle in range(5):
        pairs = pairs_of(part, cycle)
        assert [source for source, _ in pairs] == [TOKENIZER.encode(f"say: {example.source}").ids for example in kept]
        for (_, target), example in zip(pairs, kept, strict=True):
            assert target in [TOKENIZER.encode(reference).ids for reference in example.references]


@pytest.mark.filterwarnings("ignore")
def test_dropping_every_pair_is_an_error() -> None:
    task = Counting()
    with pytest.raises(ValueError, match=r"^data.over_length is drop, and every .* data.max_source_length 3 or"):
        task.training_part(task.examples("train"), 0, prepare(over_length="drop", max_source_length=3))


def test_bpe_dropout_draws_tokens_again_in_each_cycle() -> None:
    task = Counting(20)
    examples = task.examples("train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = task.training_part(examples, 0, prepare(bpe_dropout=0.4, max_source_length=16))
    first, second = pairs_of(part, 0), pairs_of(part, 1)
    assert sum(one != other for one, other in zip(first, second, strict=True)) > 10
    assert all(len(source) <= 16 and source[-1] == EOS_ID for source, _ in first)


@pytest.mark.parametrize("bpe_dropout", [0.0, 0.4])
def test_evaluation_texts_are_encoded_without_dropout_and_truncated(bpe_dropout: float) -> None:
    task = Counting(references=2)
    examples = task.examples("val")
    with pytest.warns(UserWarning, match="val: .* sources exceed data.max_source_length 12 and are truncated"):
        texts = task.evaluation_texts(examples, "val", prepare(max_source_length=12, bpe_dropout=bpe_dropout))
    assert rows(texts.source_ids) == [encode(f"say: {example.source}", 12) for example in examples]
    assert rows(texts.target_ids) == [encode(example.references[0], 16) for example in examples]
    assert texts.sources == [example.source for example in examples]  # whole, for reports
    assert texts.references == [example.references for example in examples]
    assert np.array_equal(texts.places, np.arange(45))
