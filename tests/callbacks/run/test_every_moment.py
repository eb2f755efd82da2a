"""Signals and limits that end a run at every kind of moment, at tolerance zero: resumed, it is as never interrupted."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.optim.schedules import Constant
from tests.callbacks.run.stopped_run import Setting, assert_same_run
from utils.interruption import Interrupted, raise_requested, signals_raise

HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
)


class Moments(Callback):
    """Counts calls of hooks in a fit, and sends this process a signal at one of them."""

    def __init__(self, at: int | None = None, number: int = signal.SIGTERM) -> None:
        self.at, self.number = at, number
        self.names: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name not in HOOKS:
            return super().__getattribute__(name)

        def hook(trainer: Trainer, *rest: Any, **more: Any) -> None:
            if trainer.sanity_checking:
                return
            if len(self.names) == self.at:
                os.kill(os.getpid(), self.number)
            self.names.append(name)

        return hook


for name in HOOKS:  # Lightning looks whether a hook is there
    setattr(Moments, name, lambda self, *args, **kwargs: None)


def interrupted(setting: Setting, at: int, number: int = signal.SIGTERM) -> int:
    """Return the exit code of a run that gets a signal at the given moment."""
    try:
        with signals_raise():
            setting.train(Moments(at, number))
            raise_requested()
    except Interrupted as end:
        return int(end.exit_code)  # type: ignore[arg-type]
    return 0


def check(tmp_path: Path, **arguments: Any) -> None:
    """Interrupt a run at each moment, resume it, and compare it with one that ran through."""
    setting = Setting(tmp_path / "run", saving={"every_n_seconds": 1e9}, **arguments)
    moments = Moments()
    setting.train(moments)
    setting.folder.rename(tmp_path / "uninterrupted")
    for at in range(len(moments.names)):
        number = signal.SIGINT if at % 2 else signal.SIGTERM
        assert interrupted(setting, at, number) == 128 + number, moments.names[at]
        setting.train()
        assert_same_run(tmp_path / "uninterrupted", setting.folder, f"{moments.names[at]} ({at})")
        setting.folder.rename(tmp_path / f"after-{at}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate_grad_batches": 2, "val_check_interval": 0.5},
        {"val_check_interval": 3, "check_val_every_n_epoch": None},
    ],
)
def test_19764_20550_21938_4195_resumed_at_every_moment(tmp_path, settings):
    check(tmp_path, **settings)


def test_interrupted_again_and_again(tmp_path):
    setting = Setting(tmp_path / "run", val_check_interval=0.5)
    setting.train()
    setting.folder.rename(tmp_path / "uninterrupted")
    codes = [interrupted(setting, 20) for _ in range(20)]
    assert set(codes[:3]) == {143}
    assert codes[-1] == 0
    assert_same_run(tmp_path / "uninterrupted", setting.folder, "many signals")


class StopAt(Callback):
    """Asks for the end of the training as `max_time` does, at the end of a batch (counted from 1) of the run."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 >= self.batch:
            trainer.should_stop = True


@pytest.mark.parametrize(
    ("batches", "settings"),
    [
        ((1, 2, 5, 7), {}),
        ((3, 8), {"log_every_n_steps": 1}),
        ((1, 3, 6), {"accumulate_grad_batches": 2}),
        ((2, 3, 4), {"val_check_interval": 0.5}),
        ((3, 7), {"limit_val_batches": 0}),
    ],
)
def test_the_rest_of_an_epoch_that_max_time_has_cut_short_is_trained_on(tmp_path, batches, settings):
    setting = Setting(tmp_path / "run", **settings)
    setting.train()
    setting.folder.rename(tmp_path / "uninterrupted")
    for batch in batches:
        setting.train(StopAt(batch))
        setting.train()
        if "limit_val_batches" in settings:  # no best.ckpt
            (tmp_path / "uninterrupted/checkpoints/best.ckpt").touch()
            last = [torch.load(f / "checkpoints/last.ckpt") for f in (tmp_path / "uninterrupted", setting.folder)]
            assert last[0]["global_step"] == last[1]["global_step"] == 10
            weights = [content["current_model_state"] for content in last]
            assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        else:
            assert_same_run(tmp_path / "uninterrupted", setting.folder, f"batch {batch}")
        setting.folder.rename(tmp_path / f"after-{batch}")


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 7])
def test_the_rest_of_an_epoch_that_max_steps_has_cut_short_is_trained_on(tmp_path, steps):
    setting = Setting(tmp_path / "run", schedule=Constant, val_check_interval=2)
    setting.train(max_epochs=-1, max_steps=9)
    setting.folder.rename(tmp_path / "uninterrupted")
    setting.train(max_epochs=-1, max_steps=steps)
    setting.train(max_epochs=-1, max_steps=9)
    assert_same_run(tmp_path / "uninterrupted", setting.folder, f"{steps} steps")
