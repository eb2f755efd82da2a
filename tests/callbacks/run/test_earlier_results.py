"""Tests and predictions follow each other in one run folder, as users have them follow."""

import json

import pytest

from callbacks.plots.confusion_matrix import ConfusionMatrix
from callbacks.predictions.image_predictions import Predictions
from callbacks.predictions.text_outputs import TextOutputs
from callbacks.run.earlier_results import EarlierResults
from callbacks.run.test_metrics import TestMetrics
from tests.callbacks.text_fakes import TinyText, TinyWriter, batch_of


@pytest.fixture
def tested(make_trainer, tiny_data, tiny_classifier, tmp_path):
    """Tests a model of these answers, with the callbacks of a run; returns the files by name."""

    def test(answers, **limits):
        trainer = make_trainer(ConfusionMatrix(), TestMetrics(), EarlierResults(), **limits)
        trainer.test(tiny_classifier(answers=answers), tiny_data(), verbose=False)
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    return test


def test_another_result_keeps_the_earlier_one_whole(tested):
    first = tested([0, 1, 2])
    second = tested([0, 0, 2])
    assert json.loads(second["test_metrics.json"])["test/accuracy"] == pytest.approx(0.7)
    for name, earlier in (("test_metrics.json", "test_metrics-1.json"), ("confusion_matrix.png",) * 2):
        earlier = earlier.replace("matrix.png", "matrix-1.png")
        assert second[earlier] == first[name] != second[name]
    third = tested([0, 0, 0])
    assert third["test_metrics-2.json"] == second["test_metrics.json"]
    assert third["test_metrics-1.json"] == first["test_metrics.json"]
    assert third["confusion_matrix-2.png"] == second["confusion_matrix.png"]


def test_the_same_again_changes_nothing(tested):
    first = tested([0, 1, 2])
    assert tested([0, 1, 2]) == first


def test_files_that_did_not_change_stay_with_theirs(tested):
    """The same answers on part of the data: another record beside the same name of each plot."""
    first = tested([0, 1, 2], limit_test_batches=2)
    second = tested([0, 1, 2], limit_test_batches=0.7)  # two batches again, but another setting
    assert second["confusion_matrix-1.png"] == second["confusion_matrix.png"] == first["confusion_matrix.png"]
    assert second["test_metrics-1.json"] == first["test_metrics.json"]


def test_plots_that_the_newest_test_does_not_draw_exist_under_a_number_alone(
    tested, make_trainer, tiny_data, tiny_classifier, tmp_path
):
    first = tested([0, 1, 2])
    make_trainer(TestMetrics(), EarlierResults()).test(tiny_classifier(answers=[0, 0, 2]), tiny_data(), verbose=False)
    there = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not there.keys() & {"confusion_matrix.png", "confusion_matrix.json"}
    for name in ("confusion_matrix", "test_metrics"):
        assert there[f"{name}-1.json"] == first[f"{name}.json"]


def test_a_validation_between_two_equal_tests_is_not_kept(tested, tmp_path):
    first = tested([0, 1, 2])
    (tmp_path / "confusion_matrix.json").write_text('{"of": "validation"}')
    assert tested([0, 1, 2]) == first


def test_a_plot_of_a_validation_is_no_earlier_test(tested, tmp_path):
    (tmp_path / "confusion_matrix.png").write_bytes(b"of a fit")
    assert not any("-1" in name for name in tested([0, 1, 2]))


def test_a_test_that_fails_leaves_the_earlier_files_alone(make_trainer, tiny_data, tiny_classifier, tested):
    first = tested([0, 1, 2])
    model = tiny_classifier()
    model.on_test_epoch_end = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        make_trainer(TestMetrics(), EarlierResults()).test(model, tiny_data(), verbose=False)
    assert tested([0, 1, 2]) == first


def test_without_links_the_files_are_copied(tested, monkeypatch):
    first = tested([0, 1, 2])

    def refuse(*paths):
        raise PermissionError("this file system has no links")

    monkeypatch.setattr("os.link", refuse)
    assert tested([0, 0, 2])["test_metrics-1.json"] == first["test_metrics.json"]


def test_predictions_too(make_trainer, tiny_data, tiny_classifier, tmp_path):
    def predict(count):
        trainer = make_trainer(Predictions(), EarlierResults())
        trainer.predict(tiny_classifier(), tiny_data(count=count), return_predictions=False)
        return (tmp_path / "predictions.csv").read_bytes()

    first = predict(4)
    assert predict(4) == first
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    assert predict(7) != first
    assert (tmp_path / "predictions-1.csv").read_bytes() == first


def test_generated_texts_too(make_trainer, tmp_path):
    for texts in (["one"], ["two"], ["two"]):
        trainer = make_trainer(TextOutputs(), TestMetrics(), EarlierResults())
        trainer.test(TinyWriter(texts), TinyText([batch_of({0: [2]})]), verbose=False)
    assert (tmp_path / "test_hypotheses.txt").read_text() == "two\n"
    assert (tmp_path / "test_hypotheses-1.txt").read_text() == "one\n"
    assert {"test_outputs-1.jsonl", "test_references-1.txt"} <= {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob("*-2.*"))
