import csv

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from matplotlib.image import imread

from callbacks.plots.curves import Curves, draw, read_columns, read_panels


@pytest.fixture
def metrics_csv(tmp_path):
    def write(text):
        path = tmp_path / "metrics.csv"
        path.write_text(text)
        return path

    return write


def test_panels_hand_computed(metrics_csv):
    path = metrics_csv(
        "epoch,step,val/accuracy,train/loss_step,train/loss_epoch,val/loss,lr,grad_norm/head,test/loss,train/x_step\n"
        "0,4,,9,,,,5,,1\n"
        "0,9,0.5,9,,2.0,0.1,7,,2\n"
        "0,9,,,3.0,,,,,\n"
        "1,19,0.75,,,nan,0.01,,8,\n"
        "1,19,,,1.5,,,,,\n"
        "2,20,0.8"  # a killed process's last line
    )
    assert read_panels(path) == {
        "loss": {"train": ([1, 2], [3.0, 1.5]), "val": ([1], [2.0])},
        "accuracy": {"val": ([1, 2, 3], [0.5, 0.75, 0.8])},
        "learning rate": {"lr": ([1, 2], [0.1, 0.01])},
        "gradient norm": {"head": ([0.5, 1.0], [5.0, 7.0])},
        "x": {"train": ([0.5, 1.0], [1.0, 2.0])},
    }


def test_rows_with_too_few_or_too_many_cells(metrics_csv):
    path = metrics_csv("epoch,step,val/loss\n0,1,2.0\n1\n1,2,3.0,4.0\n2,3,\n")
    assert read_columns(path) == {"val/loss": ([1, 2], [2.0, 3.0])}


def test_the_drawing_holds_the_values():
    figure = draw(
        {"loss": {"train": ([1, 2], [3.0, 0.05]), "val": ([1], [2.0])}, "accuracy": {"val": ([1], [0.5])}}, "r"
    )
    loss, accuracy = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[3.0, 0.05], [2.0]]
    assert loss.get_yscale() == "log"
    assert accuracy.get_yscale() == "linear"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train  0.05", "val  2"]


def test_many_metrics_stay_readable(metrics_csv):
    columns = [f"val/accuracy_{index}" for index in range(100)]
    path = metrics_csv(f"epoch,step,{','.join(columns)},val/loss\n0,1,{','.join(['0.5'] * 101)}\n")
    panels = read_panels(path)
    assert len(panels) == 12
    assert next(iter(panels)) == "loss"


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
