import csv

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from matplotlib.image import imread

from callbacks.plots.curves import Curves, draw


def test_the_drawing_holds_the_values():
    figure = draw(
        {"loss": {"train": ([1, 2], [3.0, 0.05]), "val": ([1], [2.0])}, "accuracy": {"val": ([1], [0.5])}}, "r"
    )
    loss, accuracy = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[3.0, 0.05], [2.0]]
    assert loss.get_yscale() == "log"
    assert accuracy.get_yscale() == "linear"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train  0.05", "val  2"]


def test_every_epoch_is_in_the_last_drawing(make_trainer, tiny_data, tiny_classifier, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "callbacks.plots.curves.draw", lambda panels, title: drawn.append(panels) or draw(panels, title)
    )
    logger = CSVLogger(tmp_path, name="", version="")
    make_trainer(Curves(every_n_seconds=0), logger=logger, max_epochs=3, log_every_n_steps=1).fit(
        tiny_classifier(), tiny_data()
    )
    assert [len(panels["loss"]["train"][0]) for panels in drawn] == [1, 2, 3]
    assert [len(panels["accuracy"]["val"][0]) for panels in drawn] == [1, 2, 3]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert drawn[-1]["loss"]["train"] == ([1, 2, 3], losses)
    height, width = imread(tmp_path / "curves.png").shape[:2]
    assert height > 300
    assert width > 1000


def test_seldom_but_at_the_end_and_no_file_is_fine(make_trainer, tiny_data, tiny_classifier, tmp_path, monkeypatch):
    make_trainer(Curves()).fit(tiny_classifier(), tiny_data())
    assert not (tmp_path / "curves.png").exists()
    drawn = []
    monkeypatch.setattr(
        "callbacks.plots.curves.draw", lambda panels, title: drawn.append(panels) or draw(panels, title)
    )
    logger = CSVLogger(tmp_path, name="", version="")
    make_trainer(Curves(1000), logger=logger, max_epochs=5, log_every_n_steps=1).fit(tiny_classifier(), tiny_data())
    assert [len(panels["loss"]["train"][0]) for panels in drawn] == [1, 5]


def test_an_interrupted_fit_is_drawn_and_an_interrupted_test_is_not(make_trainer, tiny_data, tiny_classifier, tmp_path):
    class PowerCut(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise RuntimeError("power cut")

        def on_test_start(self, trainer, pl_module):
            raise RuntimeError("power cut")

    logger = CSVLogger(tmp_path, name="", version="")
    trainer = make_trainer(PowerCut(), Curves(1000), logger=logger, max_epochs=3, log_every_n_steps=1)
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.fit(tiny_classifier(), tiny_data())
    assert imread(tmp_path / "curves.png").shape[0] > 300
    (tmp_path / "curves.png").unlink()
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.test(tiny_classifier(), tiny_data())
    assert not (tmp_path / "curves.png").exists()


def test_a_bad_interval_is_named():
    with pytest.raises(ValueError, match="every_n_seconds must be a number of at least 0, got -1"):
        Curves(every_n_seconds=-1)
