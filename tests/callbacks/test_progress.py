import contextlib
import io
import re

import pytest
import rich
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from callbacks.progress import PlainProgress, RichProgress, default_progress
from tests.callbacks.fakes import Endless, FakeClock


@pytest.fixture
def timed(tiny_classifier):
    """A clock, and a model that takes 2 s of it per training batch and 1 s per evaluation batch."""
    clock = FakeClock()

    class Timed(tiny_classifier):
        def training_step(self, batch, batch_idx):
            clock.now += 2
            loss = self.architecture(batch[0].float()).square().mean() * 0 + 1.23456
            self.log("train/loss", loss, prog_bar=True)
            return loss

        def validation_step(self, batch, batch_idx):
            clock.now += 1
            self.log("val/accuracy", 0.71, prog_bar=True)

        test_step = validation_step

        def predict_step(self, batch, batch_idx):
            clock.now += 1

    return clock, Timed()


def plain(every_n_seconds, clock):
    callback = PlainProgress(every_n_seconds)
    callback.clock = clock
    return callback


def printed(capsys):
    """The lines of the progress, without the throughput, whose smoothing test_pace.py tests."""
    lines = [
        line for line in capsys.readouterr().out.splitlines() if re.match("epoch|step|validate|test|predict", line)
    ]
    assert all(re.search(r"  [\d.,]+ images/s( |$)", line) for line in lines)
    return [re.sub(r"  [\d.,]+ images/s", "", line) for line in lines]


def test_figures_that_a_module_keeps_instead_of_logging_are_shown(make_trainer, tiny_data, tiny_classifier, capsys):
    class Keeps(tiny_classifier):
        def training_step(self, batch, batch_idx):
            self.latest = {"train/loss": torch.tensor(batch_idx + 0.25), "train/other": torch.tensor(7)}
            return self.architecture(batch[0].float()).square().mean()

    trainer = make_trainer(PlainProgress(0), max_epochs=1, enable_progress_bar=True, limit_val_batches=0)
    trainer.fit(Keeps(), tiny_data())
    shown = [re.findall(r"(train/\w+) (\S+)", line) for line in capsys.readouterr().out.splitlines() if "epoch" in line]
    assert shown[:2] == [[("train/loss", "0.25"), ("train/other", "7")], [("train/loss", "1.25"), ("train/other", "7")]]


def test_plain_lines_of_a_fit(make_trainer, tiny_data, timed, capsys, tmp_path):
    # Time: batches end at 2, 4, 6, validation at 9; 11, 13, 15 and 18. A line for the first batch, after 5 s without
    # one, and for each epoch
    clock, model = timed
    callback = plain(5, clock)
    logger = CSVLogger(tmp_path, version=7)  # its version is not a metric to show
    trainer = make_trainer(callback, max_epochs=2, enable_progress_bar=True, logger=logger, log_every_n_steps=1)
    trainer.fit(model, tiny_data())
    assert printed(capsys) == [
        "step 1/3 of epoch 1/2  33%  train/loss 1.235",
        "validate  step 1/3  33%",
        "epoch 1/2  train/loss 1.235  val/accuracy 0.71  0:09  0:10 left",
        "step 3/3 of epoch 2/2  100%  train/loss 1.235  val/accuracy 0.71  0:00 left",
        "epoch 2/2  train/loss 1.235  val/accuracy 0.71  0:09  0:00 left",
    ]


def test_the_throughput_is_that_of_all_processes(make_trainer, tiny_data, timed, capsys):
    # 2 x 4 images in each batch, of 2 s in training and 1 s in validation
    clock, model = timed
    trainer = make_trainer(plain(0, clock), enable_progress_bar=True, num_sanity_val_steps=0)
    trainer.strategy.world_size = 2  # of which this is the only one that runs
    trainer.fit(model, tiny_data(count=8))
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [(parts[0], rate) for parts in lines for rate in parts if rate.endswith(" images/s")] == [
        ("step 1/2 of epoch 1/1", "4 images/s"),
        ("step 2/2 of epoch 1/1", "4 images/s"),
        ("validate", "8 images/s"),
        ("validate", "8 images/s"),
        ("epoch 1/1", "4 images/s"),
    ]


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_plain_lines_of_an_evaluation(make_trainer, tiny_data, timed, capsys, stage):
    clock, model = timed
    trainer = make_trainer(plain(30, clock), enable_progress_bar=True)
    getattr(trainer, stage)(model, tiny_data())
    assert printed(capsys) == [f"{stage}  step 1/3  33%", f"{stage}  step 3/3  100%  0:00 left"]


def test_only_the_first_process_prints(make_trainer, tiny_data, timed, capsys, monkeypatch):
    clock, model = timed
    trainer = make_trainer(plain(30, clock), enable_progress_bar=True)
    monkeypatch.setattr(type(trainer), "is_global_zero", property(lambda self: False))
    trainer.fit(model, tiny_data())
    assert printed(capsys) == []


def test_unknown_length(make_trainer, timed, capsys):
    clock, model = timed
    trainer = make_trainer(plain(0, clock), enable_progress_bar=True, max_epochs=-1, max_steps=3)
    trainer.fit(model, DataLoader(Endless(), batch_size=4))
    assert printed(capsys) == [
        "step 1 of epoch 1  train/loss 1.235",
        "step 2 of epoch 1  train/loss 1.235  0:02 left",
        "step 3 of epoch 1  train/loss 1.235  0:00 left",
        "epoch 1  step 3  train/loss 1.235  0:06  0:00 left",
    ]


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_rich_bar_shows_rate_and_time_left(make_trainer, tiny_data, tiny_classifier, stage):
    out = io.StringIO()
    callback = RichProgress()
    callback._console_kwargs = {"file": out, "force_terminal": True, "width": 160}
    try:
        trainer = make_trainer(callback, enable_progress_bar=True, max_epochs=2)
        getattr(trainer, stage)(tiny_classifier(), tiny_data())
    finally:
        rich.reconfigure()
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out.getvalue())
    assert re.search(r"3/3 [\d.,]+ images/s 0:00 left", text)
    if stage == "fit":
        assert "Epoch 1/2" in text
        assert "Epoch 2/2" in text


def screen(written):
    """The lines that a terminal shows that was sent `written`: the cursor moves up, and lines are erased."""
    lines, row, column = [""], 0, 0
    for control, number, letter, text in re.findall(r"(\x1b\[\??([\d;]*)([A-Za-z]))|([^\x1b]+)", written):
        if control and letter == "A":
            row -= int(number or 1)
        elif control and letter == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
        for character in text:
            if character == "\r":
                column = 0
            elif character == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            else:
                lines[row] = lines[row].ljust(column)[:column] + character + lines[row][column + 1 :]
                column += 1
    return [line.rstrip() for line in lines if line.strip()]


def test_what_stays_on_the_screen_is_a_line_per_epoch(make_trainer, tiny_data, timed, monkeypatch):
    out = io.StringIO()
    clock, model = timed
    callback = RichProgress()
    callback.clock = clock
    callback._console_kwargs = {"file": out, "force_terminal": True, "width": 100}
    monkeypatch.setattr(callback, "print_line", lambda *parts: callback.progress.console.print("  ".join(parts)))
    try:
        make_trainer(callback, enable_progress_bar=True, max_epochs=2).fit(model, tiny_data())
    finally:
        rich.reconfigure()
    assert [line for line in screen(out.getvalue()) if not line.startswith("`Trainer.fit` stopped")] == [
        "epoch 1/2  train/loss 1.235  val/accuracy 0.71  0:09",
        "epoch 2/2  train/loss 1.235  val/accuracy 0.71  0:09",
    ]


def test_the_line_of_an_epoch_without_validation_repeats_no_score(make_trainer, tiny_data, timed, capsys):
    clock, model = timed
    trainer = make_trainer(plain(100, clock), enable_progress_bar=True, max_epochs=3, check_val_every_n_epoch=2)
    trainer.fit(model, tiny_data())
    lines = [line for line in printed(capsys) if line.startswith("epoch")]
    assert [("val/accuracy" in line) for line in lines] == [False, True, False]


def test_the_line_of_an_epoch_after_which_the_run_is_stopped_is_printed(make_trainer, tiny_data, timed, capsys):
    class Stop(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    clock, model = timed
    trainer = make_trainer(Stop(), plain(100, clock), enable_progress_bar=True, max_epochs=3)
    with contextlib.suppress(SystemExit, KeyboardInterrupt):
        trainer.fit(model, tiny_data())
    assert [line.split("  ")[0] for line in printed(capsys) if line.startswith("epoch")] == ["epoch 1/3"]


def test_the_line_of_an_epoch_has_the_means_over_the_epoch(make_trainer, tiny_data, tiny_classifier, capsys):
    class Means(tiny_classifier):
        def on_train_epoch_end(self):
            self.log("train/loss", 7.5)

        def training_step(self, batch, batch_idx):
            self.latest = {"train/loss": torch.tensor(1.0)}
            return self.architecture(batch[0].float()).square().mean()

    make_trainer(PlainProgress(100), enable_progress_bar=True).fit(Means(), tiny_data())
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert line.startswith("epoch 1/1  train/loss 7.5  val/loss 0.")


def test_bar_or_lines(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(default_progress(), RichProgress)
    monkeypatch.setenv("TERM", "dumb")  # where rich prints nothing until the end
    assert isinstance(default_progress(), PlainProgress)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert isinstance(default_progress(), PlainProgress)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="every_n_seconds must be a number of at least 0, got -1"):
        PlainProgress(every_n_seconds=-1)


def test_the_time_left_is_at_most_that_of_max_time(make_trainer, tiny_data, tiny_classifier, capsys):
    trainer = make_trainer(PlainProgress(0), enable_progress_bar=True, max_epochs=1000, max_time={"seconds": 2})
    trainer.fit(tiny_classifier(), tiny_data())
    left = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" left")]
    assert left and all(line.endswith(("0:00 left", "0:01 left", "0:02 left")) for line in left)
