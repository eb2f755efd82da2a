"""Reading tasks from files: what comes out of good ones, and what is said of bad ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from datamodules.text.files import read_lines
from datamodules.text.span_corruption import SpanCorruption
from datamodules.text.tasks import Example, MixedTasks, PairedFiles, TableFiles, TextTask
from datamodules.text.toy_tasks import NumberTask, ReverseTask

DATA = Path("../shared/data")


def paired(folder: Path, source: bytes, target: bytes) -> PairedFiles:
    (folder / "a").write_bytes(source)
    (folder / "b").write_bytes(target)
    files = str(folder / "a"), str(folder / "b")
    return PairedFiles(*files, *files)


def table(folder: Path, name: str, content: str, **fields: Any) -> TableFiles:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    return TableFiles(str(folder / name), str(folder / name), **fields)


def test_lines_are_paired_plain_or_gzipped(tmp_path: Path) -> None:
    # A form feed, a next line and a line separator are no ends of lines.
    task = paired(tmp_path, "\ufeffone\x0c1\r\ntwo\u20282\x85\n".encode(), gzip.compress("eins\nzwei ü".encode()))
    assert task.examples("train") == [Example("one\x0c1", ("eins",)), Example("two\u20282\x85", ("zwei ü",))]
    with pytest.raises(ValueError, match="no test data: set test_source"):
        task.examples("test")


def test_a_last_line_end_begins_no_line_and_empty_lines_are_lines(tmp_path: Path) -> None:
    for content, lines in ((b"a\n\nb\n", ["a", "", "b"]), (b"a\nb", ["a", "b"]), (b"\n\n", ["", ""])):
        (tmp_path / "x").write_bytes(content)
        assert read_lines(str(tmp_path / "x"), "x") == lines


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (b"a\nb\n", b"c\n", "train_source .*a has 2 lines and train_target .*b 1"),
        (b"", b"c\n", "train_source: .*a is empty"),
        (b"a\nb\xff\n", b"c\nd\n", r"train_source: .*a, line 2: no valid UTF-8 \(byte 2 of the line is 0xff"),
        (b"a\nb\n", b"c\n \n", "train_target: .*b, line 2: empty target"),
        (b"\nb\n", b"c\nd\n", "train_source: .*a, line 1: empty source"),
        (gzip.compress(b"a" * 999, mtime=0)[:-9], b"c\n", "train_source: .*a is a damaged gzip"),
    ],
)
def test_bad_pairs_are_named(tmp_path: Path, source: bytes, target: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired(tmp_path, source, target).examples("train")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="val_target: there is no file nowhere"):
        PairedFiles(__file__, __file__, __file__, "nowhere").examples("val")


def test_tables_of_all_formats(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"source_field": "en", "target_field": "de"}
    assert table(tmp_path, "x.tsv", 'en\tid\tde\na "b\t1\tc\n', **fields).examples("val") == [Example('a "b', ("c",))]
    csv = 'id,en,de\n1,"a, b\nc","d ""e"""\n2,f,g\n'
    assert table(tmp_path, "x.csv", csv, **fields).examples("train") == [
        Example("a, b\nc", ('d "e"',)),
        Example("f", ("g",)),
    ]
    tsv = "en\tde\na\rb\t" + "c" * 200_000 + "\n"  # a carriage return alone ends no line
    assert table(tmp_path, "x.tsv", tsv, **fields).examples("val") == [Example("a\rb", ("c" * 200_000,))]
    (long,) = table(tmp_path, "x.csv", f"en,de\na,{'c' * 200_000}\n", **fields).examples("val")
    assert long.references == ("c" * 200_000,)
    rows = [{"en": "a", "de": ["b", "c\u2028"]}, {"en": "d", "de": "e", "other": 3}]
    jsonl = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    expected = [Example("a", ("b", "c\u2028")), Example("d", ("e",))]
    assert table(tmp_path, "x.jsonl", jsonl, **fields).examples("train") == expected
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(jsonl.encode()))
    path = str(tmp_path / "x.jsonl.gz")
    assert TableFiles(path, path, path, **fields).examples("test") == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "a", r"x.txt must be named .tsv, .csv, .jsonl"),
        ("x.tsv", "source\tsummary\na\tb\n", "x.tsv, line 2: no field 'target'; there are 'source', 'summary'"),
        ("x.csv", "source,target\na,b\nc\n", "x.csv, line 3: fewer cells than the header"),
        ("x.csv", "source,target\na,b,c\n", "x.csv, line 2: more cells than the header"),
        ("x.csv", 'source,target\na,"b"c\n', "x.csv, line 2: malformed"),
        ("x.csv", "source,target\na,\n", "x.csv, line 2: field 'target' is empty"),
        ("x.csv", "source,target\n", "x.csv has no rows"),
        ("x.tsv", "source\ttarget\na\tb\nc\n", "x.tsv, line 3: fewer cells than the header"),
        ("x.tsv", "source\ttarget\na\t \n", "x.tsv, line 2: field 'target' is empty"),
        ("x.jsonl", '{"source": "a", "target": null}', "x.jsonl, line 1: field 'target'"),
        ("x.jsonl", "[" * 100_000, "x.jsonl, line 1: no valid JSON"),
        ("x.jsonl", '{"source": "a", "target": "b"}\n{"source": "a"}\n', "x.jsonl, line 2: no field 'target'"),
        ("x.jsonl", '{"source": "a"', "x.jsonl, line 1: no valid JSON"),
        ("x.jsonl", '["a"]', "x.jsonl, line 1: a list, not an object"),
        ("x.jsonl", '{"source": 3, "target": "b"}', "x.jsonl, line 1: field 'source' must be text"),
        ("x.jsonl", '{"source": "a", "target": []}', "x.jsonl, line 1: field 'target' is empty"),
        ("x.jsonl", '{"source": "a", "target": ["b", " "]}', "x.jsonl, line 1: field 'target' is empty"),
        ("x.jsonl", '{"source": "a", "target": ["b", 1]}', "x.jsonl, line 1: field 'target' must be text"),
        ("x.jsonl", '{"source": "a", "target": "b\\ud83d"}', r"x.jsonl, line 1: field 'target' has '\\ud83d', half of"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(tmp_path, name, content).examples("train")


def test_mixed_tasks_are_the_sum_of_their_parts() -> None:
    tasks: list[TextTask] = [ReverseTask(5, 2, 2, prefix="reverse: "), NumberTask(3, 2, 2, weight=0.5)]
    mixed = MixedTasks([*tasks, MixedTasks(tasks[:1])])
    assert mixed.parts() == [*tasks, tasks[0]]
    assert len(mixed.examples("train")) == 13
    with pytest.raises(ValueError, match="tasks is empty"):
        MixedTasks([])
    with pytest.raises(ValueError, match="weight is 0"):
        ReverseTask(weight=0)


def test_a_command_line_can_name_any_task() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--task", type=TextTask)
    names = [f"--task.{split}_{side}={split}.{side}" for split in ("train", "val") for side in ("source", "target")]
    config = parser.parse_args(["--task=datamodules.text.tasks.PairedFiles", *names, "--task.prefix=translate: "])
    task = parser.instantiate_classes(config).task
    assert isinstance(task, PairedFiles) and task.prefix == "translate: "
    assert task.files["val"] == ("val.source", "val.target") and task.files["test"] == (None, None)
    toy = {"class_path": "datamodules.text.toy_tasks.ReverseTask", "init_args": {"num_train": 7, "letters": "xyz"}}
    spans = {"class_path": "datamodules.text.span_corruption.SpanCorruption", "init_args": {"train": "t", "val": "v"}}
    mixed = {"class_path": "datamodules.text.tasks.MixedTasks", "init_args": {"tasks": [toy, spans]}}
    first, second = parser.instantiate_classes(parser.parse_object({"task": mixed})).task.parts()
    assert isinstance(first, ReverseTask) and first.sizes["train"] == 7 and first.letters == "xyz"
    assert isinstance(second, SpanCorruption) and second.files["val"] == "v"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_real_files() -> None:
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
    assert len(summaries.examples("train")) > 1000
    assert max(len(example.references) for example in summaries.examples("val")) > 1
