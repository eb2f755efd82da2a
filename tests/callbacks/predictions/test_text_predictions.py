import pytest

from callbacks.predictions.text_predictions import TextPredictions
from tests.callbacks.text_fakes import TinyText, TinyWriter, batch_of


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
