import pytest
import torch
from matplotlib.image import imread
from sklearn.metrics import confusion_matrix

from callbacks import confident_mistakes
from callbacks import confusion_matrix as matrix_module
from callbacks.plots.confident_mistakes import ConfidentMistakes, Mistakes, surest_mistakes
from callbacks.plots.confusion_matrix import ConfusionMatrix


class Recording(ConfusionMatrix):
    """Remembers what would be drawn."""

    def __init__(self, every_n_seconds: float = 0.0) -> None:
        super().__init__(every_n_seconds)
        self.drawn: list = []

    def figure(self, collected, class_names, title):
        self.drawn.append((collected, class_names, title))
        return super().figure(collected, class_names, title)


def test_counts_equal_sklearn(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model, data, callback = tiny_classifier(answers=[0, 2, 2], class_names=["a", "b", "c"]), tiny_data(), Recording()
    make_trainer(callback).test(model, data, verbose=False)
    labels = torch.arange(10) % 3
    (counts, names, title) = callback.drawn[0]
    assert counts.tolist() == confusion_matrix(labels, torch.tensor([0, 2, 2])[labels]).tolist()
    assert names == ["a", "b", "c"] and title == "test"
    height, width = imread(tmp_path / "confusion_matrix.png").shape[:2]
    assert 300 < height < 2000 and 300 < width < 2000


def test_fit_draws_each_epoch_or_when_due_and_the_last_at_the_end(make_trainer, tiny_data, tiny_classifier):
    often, seldom = Recording(), Recording(every_n_seconds=1000)
    make_trainer(often, seldom, max_epochs=3, num_sanity_val_steps=2).fit(tiny_classifier(), tiny_data())
    assert [title for _, _, title in often.drawn] == [f"validation, epoch {epoch}" for epoch in (1, 2, 3)]
    assert all(int(counts.sum()) == 10 for counts, _, _ in often.drawn)  # one evaluation each, no sanity check
    assert [title for _, _, title in seldom.drawn] == ["validation, epoch 1", "validation, epoch 3"]


def test_counts_are_summed_over_processes(make_trainer, tiny_data, tiny_classifier, monkeypatch):
    callback = Recording()
    trainer = make_trainer(callback)

    def two_equal_processes(value, *args, reduce_op="mean", **kwargs):
        return value * 2 if reduce_op == "sum" else value

    monkeypatch.setattr(trainer.strategy, "reduce", two_equal_processes)
    trainer.validate(tiny_classifier(), tiny_data(), verbose=False)
    assert int(callback.drawn[0][0].sum()) == 20


def test_a_process_without_examples_takes_part_in_the_sum(make_trainer, monkeypatch):
    """The other process holds the counts [[1, 2, 3], ...]: this one must ask for them as often as that one does."""
    callback, trainer = ConfusionMatrix(), make_trainer()
    theirs = torch.arange(1, 10).view(3, 3)
    asked = []

    def reduce(mine, *args, reduce_op, **kwargs):
        asked.append(reduce_op)
        return torch.tensor(max(int(mine), 3)) if reduce_op == "max" else mine + theirs

    monkeypatch.setattr(trainer.strategy, "reduce", reduce)
    assert callback.collect(trainer).tolist() == theirs.tolist()
    without, asked = asked, []
    callback.add(trainer, {"probabilities": torch.eye(3), "labels": torch.arange(3)})
    assert callback.collect(trainer).tolist() == (theirs + torch.eye(3)).tolist()
    assert asked == without


def test_other_outputs_are_passed_over(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model = tiny_classifier()
    model.validation_step = lambda batch, batch_idx: torch.tensor(1.0)
    make_trainer(ConfusionMatrix(), ConfidentMistakes()).validate(model, tiny_data(), verbose=False)
    assert list(tmp_path.glob("*.png")) == []


@pytest.mark.parametrize(("classes", "texts"), [(1, 1), (2, 4), (20, 400), (21, 0), (100, 0)])
def test_no_text_in_cells_when_there_are_many(classes, texts):
    names = [f"a rather long class name, {index}" for index in range(classes)]
    axes = matrix_module.draw(torch.eye(classes, dtype=torch.int64), names, "test").axes[0]
    assert len(axes.texts) == texts
    assert len(axes.get_yticks()) <= 50 and all(len(label.get_text()) <= 18 for label in axes.get_yticklabels())


def test_rows_are_normalised():
    counts = torch.tensor([[3, 1], [0, 0]])
    axes = matrix_module.draw(counts, None, "test").axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]


def test_surest_mistakes_over_batches_equal_a_sort_of_all():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(60, 5, generator=generator).softmax(1)
    labels = torch.randint(0, 5, (60,), generator=generator)
    images = torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1).expand(60, 3, 2, 2)
    kept = None
    for part in torch.arange(60).split(7):
        kept = surest_mistakes(kept, probabilities[part], labels[part], images[part], 6)
        assert len(kept.confidence) <= 6
    wrong = [
        (float(row.max()), position)
        for position, (row, label) in enumerate(zip(probabilities, labels, strict=True))
        if int(row.argmax()) != int(label)
    ]
    best = [position for _, position in sorted(wrong, reverse=True)[:6]]
    assert kept.images[:, 0, 0, 0].tolist() == best
    assert kept.labels.tolist() == labels[best].tolist()
    assert kept.predicted.tolist() == probabilities[best].argmax(1).tolist()


def test_mistakes_are_drawn_with_names_and_probability(make_trainer, tiny_data, tiny_classifier, tmp_path):
    # Label 1 is always taken for 2: images 1, 4, 7 at positions 1, 0, 3 of their batches, probabilities 0.89, 0.9, 0.87
    make_trainer(ConfidentMistakes(count=2)).test(
        tiny_classifier(answers=[0, 2, 2], class_names=["ant", "bee", "cow"]), tiny_data(), verbose=False
    )
    assert imread(tmp_path / "mistakes.png").shape[0] > 100
    kept = Mistakes(
        torch.tensor([0.9, 0.89, -1.0]),
        torch.tensor([2, 2, 0]),
        torch.tensor([1, 1, 0]),
        torch.zeros(3, 3, 8, 8).byte(),
    )
    figure = confident_mistakes.draw(kept, ["ant", "bee", "cow"], "test")
    assert [axes.get_title() for axes in figure.axes] == ["bee →\ncow  90.0%", "bee →\ncow  89.0%"]
    nothing = confident_mistakes.draw(Mistakes(*(part[2:] for part in kept)), None, "test")
    assert nothing.axes == [] and "No mistakes" in nothing.get_suptitle()
    with pytest.raises(ValueError, match="count"):
        ConfidentMistakes(count=0)
