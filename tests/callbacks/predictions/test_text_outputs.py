import json
import math

from callbacks.predictions.text_outputs import TextOutputs
from tests.callbacks.text_fakes import TinyText, TinyWriter, batch_of
from utils.batches import GeneratedText

DATA = TinyText([batch_of({0: [2]})])


def test_a_test_leaves_hypotheses_references_and_everything(make_trainer, tmp_path):
    generated = [
        GeneratedText(0, "Quelle\t0", ("ref\nA", "ref\tB"), "hyp\t0\r\n", -0.5),
        GeneratedText(3, "", ("only",), "", math.nan),
        GeneratedText(4, "ü\u2028", (), "▁|", None),
    ]

    class Given(TinyWriter):
        def on_test_epoch_end(self) -> None:
            self.generated = generated

    make_trainer(TextOutputs()).test(Given(["x"]), DATA, verbose=False)
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
    make_trainer(TextOutputs()).test(TinyWriter(["ab", "cd", "ef"]), DATA, verbose=False)
    with (tmp_path / "test_references.txt").open(encoding="utf-8") as file:
        fields = [line.rstrip().split(sep="\t", maxsplit=1) for line in file]
    assert fields == [["ab", "cd"]] * 3


def test_without_generated_text_there_are_no_files(make_trainer, tiny_data, tiny_classifier, tmp_path):
    make_trainer(TextOutputs()).test(tiny_classifier(), tiny_data(), verbose=False)
    make_trainer(TextOutputs()).test(TinyWriter([]), DATA, verbose=False)
    assert list(tmp_path.iterdir()) == []
