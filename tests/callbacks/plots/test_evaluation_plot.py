"""When an evaluation's plot is collected and drawn, with a plot of the labels seen."""

import pytest
import torch
from lightning.pytorch import Callback
from matplotlib.figure import Figure
from matplotlib.image import imread

from callbacks.plots.evaluation_plot import EvaluationPlot


class Labels(EvaluationPlot[list[int]]):
    """Collects the labels of an evaluation, and remembers what was drawn."""

    file_name = "labels.png"

    def __init__(self, every_n_seconds: float = 0.0) -> None:
        super().__init__(every_n_seconds)
        self.labels: list[int] = []
        self.last: list[bool] = []
        self.drawn: list[tuple[list[int], list[str] | None, str]] = []

    def reset(self):
        self.labels = []

    def add(self, trainer, pl_module, outputs, batch, step):
        assert torch.equal(outputs["labels"], batch[1])
        self.labels += batch[1].tolist()
        self.last.append(step.last)

    def collect(self, trainer):
        return self.labels or None

    def figure(self, collected, class_names, title):
        self.drawn.append((collected, class_names, title))
        return Figure((2, 1))


SEEN = [index % 3 for index in range(10)]


def titles(plot: Labels) -> list[str]:
    return [title for _, _, title in plot.drawn]


@pytest.mark.parametrize(("stage", "title"), [("validate", "validation"), ("test", "test")])
def test_an_evaluation_is_drawn_at_once(make_trainer, tiny_data, tiny_classifier, tmp_path, stage, title):
    plot = Labels(every_n_seconds=1000)
    trainer = make_trainer(plot)
    for _ in range(2):
        getattr(trainer, stage)(tiny_classifier(class_names=["x", "y", "z"]), tiny_data(), verbose=False)
    assert plot.drawn == [(SEEN, ["x", "y", "z"], title)] * 2
    assert plot.last == [False, False, True] * 2
    assert imread(tmp_path / "labels.png").shape[:2] == (110, 220)


def test_a_fit_draws_when_due_and_the_newest_at_its_end(make_trainer, tiny_data, tiny_classifier):
    often, seldom = Labels(), Labels(every_n_seconds=1000)
    make_trainer(often, seldom, max_epochs=3, num_sanity_val_steps=2).fit(tiny_classifier(), tiny_data())
    assert titles(often) == [f"validation, epoch {epoch}" for epoch in (1, 2, 3)]
    assert [labels for labels, _, _ in often.drawn] == [SEEN] * 3  # without the sanity check
    assert often.last == [False, False, True] * 3
    assert titles(seldom) == ["validation, epoch 1", "validation, epoch 3"]


def test_an_interrupted_fit_draws_the_newest(make_trainer, tiny_data, tiny_classifier):
    class BreakInEpoch3(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise RuntimeError("power cut")

    plot = Labels(every_n_seconds=1000)
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(plot, BreakInEpoch3(), max_epochs=3).fit(tiny_classifier(), tiny_data())
    assert titles(plot) == ["validation, epoch 1", "validation, epoch 2"]


def test_nothing_collected_is_not_drawn(make_trainer, tiny_classifier, tiny_data, tmp_path):
    class Nothing(Labels):
        def collect(self, trainer):
            return None

    plot = Nothing()
    trainer = make_trainer(plot)
    trainer.fit(tiny_classifier(), tiny_data())
    trainer.test(tiny_classifier(), tiny_data(), verbose=False)
    assert plot.drawn == []
    assert list(tmp_path.glob("*.png")) == []


def test_only_the_first_process_draws(make_trainer, tiny_data, tiny_classifier, tmp_path, monkeypatch):
    plot = Labels()
    trainer = make_trainer(plot)
    monkeypatch.setattr(type(trainer), "is_global_zero", property(lambda self: False))
    trainer.validate(tiny_classifier(), tiny_data(), verbose=False)
    assert plot.labels == SEEN
    assert plot.drawn == []
    assert list(tmp_path.glob("*.png")) == []


def test_a_bad_interval_is_named():
    with pytest.raises(ValueError, match="every_n_seconds must be a number of at least 0, got -1"):
        Labels(every_n_seconds=-1)
