import io
import math
import re

import pytest
import rich
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, IterableDataset

from callbacks.progress import Pace, PlainProgress, RichProgress, default_progress, fit_batches


class FakeClock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def timed(tiny_classifier):
    """A clock, and a model for which each training batch takes 2 s and each evaluation batch 1 s of it."""
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


def test_rate_of_a_steady_and_of_a_changing_pace():
    clock = FakeClock()
    pace = Pace(clock, half_life=10)
    assert pace.examples_per_second is None and pace.seconds_left is None
    for done in range(1, 4):
        clock.now += 2
        pace.batch(100, done, 10)
    assert pace.examples_per_second == pytest.approx(50)
    assert pace.seconds_left == pytest.approx(7 * 2)
    clock.now += 500
    pace.skip()  # a validation does not slow the rate
    clock.now += 10
    pace.batch(100, 4, 10)
    # 100, 100, 100 in 2 s each, aged by 14, 12, 10 s, then 100 in 10 s
    weights = [0.5 ** ((age) / 10) for age in (14, 12, 10)]
    assert pace.examples_per_second == pytest.approx((100 * sum(weights) + 100) / (2 * sum(weights) + 10))
    assert pace.seconds_left == pytest.approx(6 * (2 * 2 + 500 + 10) / 3)  # but is part of the time left


def test_a_resumed_run_counts_only_its_own_batches():
    clock = FakeClock()
    pace = Pace(clock)
    pace.batch(8, 501, 600)
    clock.now += 3
    pace.batch(8, 502, 600)
    assert pace.seconds_left == pytest.approx(98 * 3)
    pace.batch(8, 503, math.inf)
    assert pace.seconds_left is None


def plain(every_n_seconds, clock):
    callback = PlainProgress(every_n_seconds)
    callback.clock = clock
    return callback


def printed(capsys):
    """The lines of the progress, without the rates (their smoothing is tested above)."""
    lines = [line for line in capsys.readouterr().out.splitlines() if re.match("epoch|validate|test|predict", line)]
    assert all(re.search(r"  [\d.,]+ images/s( |$)", line) for line in lines)
    return [re.sub(r"  [\d.,]+ images/s", "", line) for line in lines]


def test_plain_lines_of_a_fit(make_trainer, tiny_data, timed, capsys):
    # Time: batches end at 2, 4, 6, validation at 9; 11, 13, 15 and 18. A line when 4 s have passed, and each epoch
    clock, model = timed
    callback = plain(4, clock)
    make_trainer(callback, max_epochs=2, enable_progress_bar=True).fit(model, tiny_data())
    assert printed(capsys) == [
        "epoch 1/2  step 1/3  33%  train/loss 1.235",
        "epoch 1/2  step 3/3  100%  train/loss 1.235  0:06 left",
        "epoch 1/2  step 3/3  100%  train/loss 1.235  val/accuracy 0.71  0:10 left",
        "epoch 2/2  step 1/3  33%  train/loss 1.235  val/accuracy 0.71  0:06 left",
        "epoch 2/2  step 3/3  100%  train/loss 1.235  val/accuracy 0.71  0:00 left",
        "epoch 2/2  step 3/3  100%  train/loss 1.235  val/accuracy 0.71  0:00 left",
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


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(3, 8, 8), torch.tensor(0)


def test_unknown_length(make_trainer, timed, capsys):
    clock, model = timed
    trainer = make_trainer(plain(0, clock), enable_progress_bar=True, max_epochs=-1, max_steps=3)
    trainer.fit(model, DataLoader(Endless(), batch_size=4))
    assert printed(capsys)[:3] == [
        "epoch 1  step 1  train/loss 1.235",
        "epoch 1  step 2  train/loss 1.235  0:02 left",
        "epoch 1  step 3  train/loss 1.235  0:00 left",
    ]


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({"max_epochs": 4}, 12),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, 12),
        # An epoch of 3 batches is 2 steps, the second of one batch: the fifth step ends with batch 2 of epoch 3
        ({"max_epochs": -1, "max_steps": 5, "accumulate_grad_batches": 2}, 8),
        ({"max_epochs": 4, "max_steps": 100}, 12),
    ],
)
def test_total_is_reached_exactly_at_the_end(make_trainer, tiny_data, tiny_classifier, arguments, total):
    seen = []

    class Watch(PlainProgress):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(fit_batches(trainer, batch_idx))

        def on_train_epoch_end(self, trainer, pl_module):
            pass

    make_trainer(Watch(), enable_progress_bar=True, **arguments).fit(tiny_classifier(), tiny_data())
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_resumed_in_mid_epoch(make_trainer, tiny_data, tiny_classifier, tmp_path):
    class SaveAtStep4(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    make_trainer(SaveAtStep4(), max_epochs=2).fit(tiny_classifier(), tiny_data())
    seen = []

    class Watch(PlainProgress):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            seen.append(fit_batches(trainer, batch_idx))

    trainer = make_trainer(Watch(), enable_progress_bar=True, max_epochs=3)
    trainer.fit(tiny_classifier(), tiny_data(), ckpt_path=str(tmp_path / "a.ckpt"))
    assert seen[0] == (5, 9) and seen[-1] == (9, 9)


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
        assert "Epoch 1/2" in text and "Epoch 2/2" in text


def test_bar_or_lines(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert isinstance(default_progress(), RichProgress)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert isinstance(default_progress(), PlainProgress)
