import json

import pytest

from callbacks.predictions.text_predictions import TextPredictions
from tests.callbacks.text_fakes import TinyText, TinyWriter, batch_of
from utils.batches import ScoredText


def test_a_line_for_each_line_in_order(make_trainer, tmp_path):
    """Batches in any order, lines 0, 3 and 6 in none of them, line breaks within."""
    texts = ["", "ein Hund", "zwei\nHunde", "", "🎉\r\nfünf", "", ""]
    data = TinyText([batch_of({4: [2, 3], 2: [2]}), batch_of({5: [2], 1: [3]})], lines=7)
    make_trainer(TextPredictions()).predict(TinyWriter(texts), data)
    assert (tmp_path / "predictions.txt").read_bytes().decode() == "\nein Hund\nzwei Hunde\n\n🎉 fünf\n\n\n"


def test_another_output_in_a_new_folder(make_trainer, tmp_path):
    output = tmp_path / "deep" / "out.txt"
    data = TinyText([batch_of({2: [2], 0: [2]})], lines=3)
    make_trainer(TextPredictions(output)).predict(TinyWriter(["a", "b", "c"]), data)
    assert output.read_text() == "a\n\nc\n"
    assert not (tmp_path / "predictions.txt").exists()


@pytest.mark.parametrize("lines", [0, 3])
def test_a_file_of_nothing_but_empty_lines(make_trainer, tmp_path, lines):
    make_trainer(TextPredictions()).predict(TinyWriter([]), TinyText([], lines=lines))
    assert (tmp_path / "predictions.txt").read_text() == "\n" * lines


def test_a_datamodule_that_does_not_count_its_lines(make_trainer, tmp_path):
    data = TinyText([batch_of({2: [2], 0: [2]})])
    make_trainer(TextPredictions()).predict(TinyWriter(["a", "b", "c"]), data)
    assert (tmp_path / "predictions.txt").read_text() == "a\n\nc\n"


def test_outputs_of_another_kind_write_nothing(make_trainer, tiny_data, tiny_classifier, tmp_path):
    make_trainer(TextPredictions()).predict(tiny_classifier(), tiny_data())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_prediction_leaves_the_old_file(make_trainer, tmp_path):
    (tmp_path / "predictions.txt").write_text("old\n")
    data = TinyText([batch_of({0: [2]}), batch_of({9: [2]})], lines=10)
    with pytest.raises(IndexError):
        make_trainer(TextPredictions()).predict(TinyWriter(["a"]), data)
    assert (tmp_path / "predictions.txt").read_text() == "old\n"


class Several(TinyWriter):
    """Writes two texts per source, with scores, the second of which is not finite."""

    num_return_sequences = 2

    def predict_step(self, batch, batch_idx):
        outputs = super().predict_step(batch, batch_idx)
        n_best = [[ScoredText(text, -0.5), ScoredText(text + "!", float("nan"))] for text in outputs["hypotheses"]]
        return {**outputs, "n_best": n_best, "sources": [f"source {index}" for index in batch.index.tolist()]}


def test_several_texts_are_objects_with_scores_unchanged(make_trainer, tmp_path):
    data = TinyText([batch_of({2: [2]}), batch_of({0: [2]})], lines=3)
    make_trainer(TextPredictions()).predict(Several(["zwei\nHunde", "", "ß"]), data)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]
    text = (tmp_path / "predictions.jsonl").read_text()
    assert "ß" in text
    assert [json.loads(line) for line in text.splitlines()] == [
        {
            "index": 0,
            "source": "source 0",
            "hypotheses": [{"text": "zwei\nHunde", "score": -0.5}, {"text": "zwei\nHunde!", "score": None}],
        },
        {"index": 1, "source": "", "hypotheses": []},
        {"index": 2, "source": "source 2", "hypotheses": [{"text": "ß", "score": -0.5}, {"text": "ß!", "score": None}]},
    ]


def test_the_ending_of_the_output_asks_for_objects(make_trainer, tmp_path):
    data = TinyText([batch_of({0: [2]})], lines=1)
    make_trainer(TextPredictions(tmp_path / "out.jsonl")).predict(TinyWriter(["a"]), data)
    expected = {"index": 0, "source": None, "hypotheses": [{"text": "a", "score": None}]}
    assert json.loads((tmp_path / "out.jsonl").read_text()) == expected


def test_several_texts_do_not_fit_one_line(make_trainer, tmp_path):
    data = TinyText([batch_of({0: [2]})], lines=1)
    with pytest.raises(ValueError, match=r"model\.num_return_sequences is above 1, .*pass --output .*out\.jsonl"):
        make_trainer(TextPredictions(tmp_path / "out.txt")).predict(Several(["a"]), data)
    assert list(tmp_path.iterdir()) == []
