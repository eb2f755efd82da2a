import json
from typing import Any

import pytest
import torch
from matplotlib.image import imread
from sklearn.metrics import confusion_matrix

from callbacks.plots.confusion_matrix import ConfusionMatrix, draw
from callbacks.plots.evaluation_files import Step


class Recording(ConfusionMatrix):
    """Remembers what was drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Any] = []

    def figure(self, collected, class_names, title):
        self.drawn.append((collected, class_names, title))
        return super().figure(collected, class_names, title)


def test_counts_equal_sklearn(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model, data, callback = tiny_classifier(answers=[0, 2, 2], class_names=["a", "b", "c"]), tiny_data(), Recording()
    make_trainer(callback).test(model, data, verbose=False)
    labels = torch.arange(10) % 3
    [(counts, names, title)] = callback.drawn
    assert counts.tolist() == confusion_matrix(labels, torch.tensor([0, 2, 2])[labels]).tolist()
    assert names == ["a", "b", "c"]
    assert title == "test"
    data = json.loads((tmp_path / "confusion_matrix.json").read_text())
    assert data["of"] == "test"
    assert data["classes"] == ["a", "b", "c"]
    assert sorted(data["cells"]) == [[i, j, int(counts[i, j])] for i, j in counts.nonzero().tolist()]
    height, width = imread(tmp_path / "confusion_matrix.png").shape[:2]
    assert 300 < height < 2000
    assert 300 < width < 2000


def test_each_evaluation_starts_from_zero(make_trainer, tiny_data, tiny_classifier):
    callback = Recording()
    trainer = make_trainer(callback)
    for _ in range(2):
        trainer.validate(tiny_classifier(), tiny_data(), verbose=False)
    assert [int(counts.sum()) for counts, _, _ in callback.drawn] == [10, 10]


def test_counts_are_summed_over_processes(make_trainer, tiny_data, tiny_classifier, monkeypatch):
    callback = Recording()
    trainer = make_trainer(callback)

    def two_equal_processes(value, *args, reduce_op="mean", **kwargs):
        return value * 2 if reduce_op == "sum" else value

    monkeypatch.setattr(trainer.strategy, "reduce", two_equal_processes)
    trainer.validate(tiny_classifier(), tiny_data(), verbose=False)
    assert int(callback.drawn[0][0].sum()) == 20


def test_a_process_without_examples_takes_part_in_the_sum(make_trainer, tiny_classifier, monkeypatch):
    """The other process has the counts [[1, 2, 3], ...]: this one must ask for them as often as that one does."""
    callback, trainer = ConfusionMatrix(), make_trainer()
    theirs = torch.arange(1, 10).view(3, 3)
    asked = []

    def reduce(mine, *args, reduce_op, **kwargs):
        asked.append(reduce_op)
        return torch.tensor(max(int(mine), 3)) if reduce_op == "max" else mine + theirs

    monkeypatch.setattr(trainer.strategy, "reduce", reduce)
    callback.reset()
    assert callback.collect(trainer).tolist() == theirs.tolist()
    without, asked = asked, []
    outputs = {"probabilities": torch.eye(3), "labels": torch.arange(3)}
    callback.add(trainer, tiny_classifier(), outputs, batch=None, step=Step(0, last=True))
    assert callback.collect(trainer).tolist() == (theirs + torch.eye(3)).tolist()
    assert asked == without


def test_other_outputs_are_skipped(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model = tiny_classifier()
    model.validation_step = lambda batch, batch_idx: torch.tensor(1.0)
    make_trainer(ConfusionMatrix()).validate(model, tiny_data(), verbose=False)
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize(("classes", "texts"), [(1, 1), (2, 4), (20, 400), (21, 0), (100, 0)])
def test_no_counts_in_the_cells_of_many_classes(classes, texts):
    names = [f"a rather long class name, {index}" for index in range(classes)]
    axes = draw(torch.eye(classes, dtype=torch.int64), names, "test").axes[0]
    assert len(axes.texts) == texts
    assert len(axes.get_yticks()) <= 50
    assert all(len(label.get_text()) <= 18 for label in axes.get_yticklabels())


def test_colours_are_shares_of_the_row_and_cells_hold_counts():
    counts = torch.tensor([[3, 1], [0, 0]])
    axes = draw(counts, None, "test").axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert axes.get_title() == "Confusion matrix (test)\naccuracy 75.00% on 4 examples"
