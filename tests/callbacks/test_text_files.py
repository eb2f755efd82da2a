"""predictions.txt and what a test writes."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from callbacks.predictions.text_lines import one_line, visible, write_lines

from callbacks.predictions.text_outputs import TextOutputs
from callbacks.predictions.text_predictions import TextPredictions
from tests.callbacks.text_fakes import Generated, TinyText, TinyWriter, batch_of
from utils.distributed import gather_rows

BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("line_break", BREAKS)
def test_a_text_is_one_line_for_every_reader(line_break, tmp_path):
    write_lines(tmp_path / "a.txt", [one_line(f"a{line_break}b"), one_line(f"c{line_break}"), one_line(line_break)])
    text = (tmp_path / "a.txt").read_bytes().decode()
    assert text == "a b\nc\n\n"
    assert len(text.splitlines()) == 3
    shown = visible(f"ä{line_break}▁🎉 \u00a0")
    assert len(shown.splitlines()) == 1 and shown.startswith("ä\\") and shown.endswith("▁🎉 \u00a0")


def test_half_a_surrogate_pair_does_not_lose_the_file(tmp_path):
    write_lines(tmp_path / "a.txt", ["a\ud800b", "é"])
    assert (tmp_path / "a.txt").read_bytes() == b"a?b\n\xc3\xa9\n"
    assert visible("a\ud800\x1b") == "a\\ud800\\x1b"


def test_a_line_for_each_line_in_order(make_trainer, tmp_path):
    """Batches in any order, lines 0, 3 and 6 in none of them, breaks within."""
    texts = ["", "ein Hund", "zwei\nHunde", "", "🎉\r\nfünf", "", ""]
    data = TinyText([batch_of({4: [2, 3], 2: [2]}), batch_of({5: [2], 1: [3]})], lines=7)
    make_trainer(TextPredictions()).predict(TinyWriter(texts), data)
    assert (tmp_path / "predictions.txt").read_bytes().decode() == "\nein Hund\nzwei Hunde\n\n🎉 fünf\n\n\n"


def test_another_output_and_a_second_use_of_the_trainer(make_trainer, tmp_path):
    callback = TextPredictions(tmp_path / "deep" / "out.txt")
    trainer = make_trainer(callback)
    trainer.predict(TinyWriter(["a", "b", "c"]), TinyText([batch_of({2: [2], 0: [2]})], lines=3))
    assert (tmp_path / "deep" / "out.txt").read_text() == "a\n\nc\n"
    trainer.predict(TinyWriter(["d", "e"]), TinyText([batch_of({1: [2]})], lines=2))
    assert (tmp_path / "deep" / "out.txt").read_text() == "\ne\n"
    assert not (tmp_path / "predictions.txt").exists()


@pytest.mark.parametrize("lines", [0, 3])
def test_a_file_of_nothing_but_empty_lines(make_trainer, tmp_path, lines):
    make_trainer(TextPredictions()).predict(TinyWriter([]), TinyText([], lines=lines))
    assert (tmp_path / "predictions.txt").read_text() == "\n" * lines


def test_outputs_of_another_kind_write_nothing(make_trainer, tiny_data, tiny_classifier, tmp_path):
    trainer = make_trainer(TextPredictions(), TextOutputs())
    trainer.predict(tiny_classifier(), tiny_data())
    trainer.test(tiny_classifier(), tiny_data(), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_prediction_leaves_the_old_file(make_trainer, tmp_path):
    (tmp_path / "predictions.txt").write_text("old\n")
    data = TinyText([batch_of({0: [2]}), batch_of({9: [2]})], lines=10)
    with pytest.raises(IndexError):
        make_trainer(TextPredictions()).predict(TinyWriter(["a"]), data)
    assert (tmp_path / "predictions.txt").read_text() == "old\n"


def test_rows_of_two_processes_come_together(monkeypatch):
    def gather(rows, parts):  # what the other process has
        if parts is not None:
            parts[:] = [rows, {1: "b", 3: "d"}]

    monkeypatch.setattr(torch.distributed, "gather_object", gather)
    first, second = (SimpleNamespace(world_size=2, is_global_zero=zero) for zero in (True, False))
    assert gather_rows({0: "a", 2: "c"}, first) == {0: "a", 1: "b", 2: "c", 3: "d"}  # type: ignore[arg-type]
    assert gather_rows({1: "b"}, second) == {}  # type: ignore[arg-type]
    assert gather_rows({1: "b"}, SimpleNamespace(world_size=1)) == {1: "b"}  # type: ignore[arg-type]


def test_a_test_leaves_hypotheses_references_and_everything(make_trainer, tmp_path):
    model = TinyWriter(["x"])
    generated = [
        Generated(0, "Quelle\t0", ("ref\nA", "ref\tB"), "hyp\t0\r\n", -0.5),
        Generated(3, "", ("only",), "", math.nan),
        Generated(4, "ü\u2028", (), "▁|", None),
    ]
    model.on_test_epoch_end = lambda: setattr(model, "generated", generated)  # type: ignore[method-assign]
    make_trainer(TextOutputs()).test(model, TinyText([batch_of({0: [2]})]), verbose=False)
    assert (tmp_path / "test_hypotheses.txt").read_text() == "hyp\t0\n\n▁|\n"
    assert (tmp_path / "test_references.txt").read_text() == "ref A\tref B\nonly\n\n"
    rows = [json.loads(line) for line in (tmp_path / "test_outputs.jsonl").read_text().removesuffix("\n").split("\n")]
    for row, expected in zip(rows, generated, strict=True):
        assert list(row) == ["index", "source", "references", "hypothesis", "score"]
        assert [row["index"], row["source"], row["references"], row["hypothesis"]] == [
            expected.index,
            expected.source,
            list(expected.references),
            expected.hypothesis,
        ]
    assert [row["score"] for row in rows] == [-0.5, None, None]
    assert "ü" in (tmp_path / "test_outputs.jsonl").read_text(encoding="utf-8")


def test_the_sacrebleu_command_reads_the_references(make_trainer, tmp_path):
    """Its own splitting of lines and tabs, by its own rule."""
    model = TinyWriter(["ab", "cd", "ef"])
    make_trainer(TextOutputs()).test(model, TinyText([batch_of({0: [2]})]), verbose=False)
    with open(tmp_path / "test_references.txt", encoding="utf-8") as file:
        fields = [line.rstrip().split(sep="\t", maxsplit=1) for line in file]
    assert fields == [["ab", "cd"]] * 3
