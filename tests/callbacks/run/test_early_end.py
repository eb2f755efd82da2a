"""A training that EarlyStopping has ended, started again."""

import signal

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from callbacks.run.early_end import EarlyEnd
from callbacks.run.observers import observers
from tests.callbacks.run.stopped_run import Setting, differences
from tests.callbacks.run.test_stopped_runs import Kill


def stopping(patience: int = 1) -> EarlyStopping:
    """Ends the training once nothing has improved for `patience` validations: by less than 100 does not count."""
    return EarlyStopping("val/loss", min_delta=100.0, patience=patience)


def test_a_training_that_has_ended_early_stays_ended(tmp_path):
    setting = Setting(tmp_path / "run", max_epochs=6)
    ended = setting.train(stopping(), EarlyEnd(changed=False))
    rows = (tmp_path / "run" / "metrics.csv").read_text()
    assert ended["epoch"] < 5
    again = setting.train(stopping(), EarlyEnd(changed=False))
    assert not differences(ended, again)
    assert (tmp_path / "run" / "metrics.csv").read_text() == rows


def test_with_a_changed_config_it_trains_on(tmp_path):
    setting = Setting(tmp_path / "run", max_epochs=4)
    ended = setting.train(stopping(), EarlyEnd(changed=False))
    assert setting.train(EarlyEnd(changed=True))["global_step"] > ended["global_step"]


def test_a_changed_patience_is_that_of_the_config(tmp_path):
    setting = Setting(tmp_path / "run", max_epochs=9)
    ended = setting.train(stopping(), EarlyEnd(changed=False))
    more = setting.train(stopping(patience=4), EarlyEnd(changed=True))
    assert more["epoch"] - ended["epoch"] == 3


@pytest.mark.parametrize(
    ("change", "ends"), [("trainer.accelerator cpu -> auto", True), ("trainer.callbacks.EMA.decay 0.9 -> 0.8", False)]
)
def test_only_a_change_of_callbacks_lets_it_continue(change, ends):
    (early_end,) = (each for each in observers({}, [change]) if isinstance(each, EarlyEnd))
    assert early_end.changed != ends


def test_max_time_ends_a_training_between_two_steps(tmp_path):
    setting = Setting(tmp_path / "run", max_epochs=3, accumulate_grad_batches=3, saving={"every_n_seconds": 1e6})
    ended = setting.train(EarlyEnd(changed=False), max_time={"milliseconds": 1})
    assert ended["global_step"] == 1


def test_early_stopping_ends_a_training_between_two_steps(oneforall):
    few = [
        "--trainer.limit_train_batches",
        "6",
        "--trainer.limit_val_batches",
        "1",
        "--model.architecture.widths",
        "[8,8,8]",
    ]
    often = ["--trainer.accumulate_grad_batches", "3", "--trainer.val_check_interval", "2"]
    stop = ["--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"]
    stop += ["--trainer.callbacks.min_delta", "100", "--trainer.callbacks.patience", "1"]
    run = ["fit", "--config", "quickstart/images.yaml", *few, *often, *stop]
    assert oneforall(*run, "--run_dir", "here").code == 0
    ended = torch.load("here/checkpoints/last.ckpt", weights_only=True)
    assert ended["ended_early"] and ended["global_step"] == 2


def test_a_training_that_max_time_has_ended_trains_on(tmp_path):
    setting = Setting(tmp_path / "run", max_epochs=3)
    ended = setting.train(EarlyEnd(changed=False), max_time={"milliseconds": 1})
    assert "ended_early" not in ended
    assert setting.train(EarlyEnd(changed=False))["global_step"] > ended["global_step"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_that_comes_after_the_last_step_leaves_a_finished_run(oneforall, monkeypatch, name):
    import cli

    observers = cli.OneForAllCLI._observers
    late = Kill("on_train_end", 1, getattr(signal, name))
    monkeypatch.setattr(cli.OneForAllCLI, "_observers", lambda self, options: [*observers(self, options), late])
    small = ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--trainer.max_epochs", "1"]
    small += ["--model.architecture.widths", "[8,8,8]"]
    outcome = oneforall("fit", "--config", "quickstart/images.yaml", *small)
    assert outcome.code == 0
    assert "stopped by" not in outcome.out and "next:" in outcome.out
