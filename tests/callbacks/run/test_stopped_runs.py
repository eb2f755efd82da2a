"""Runs that are asked to stop, by a signal or by a limit, and resumed, beside runs that never were."""

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.callbacks.run.stopped_run import Setting, assert_same_run, differences
from utils.interruption import Interrupted, signals_raise


class Kill(Callback):
    """Sends a signal to this process at the n-th call of a hook (counted from 1)."""

    def __init__(self, hook: str, number: int, sent: int = signal.SIGTERM) -> None:
        self.left = number
        self.sent = sent
        setattr(self, hook, self.called)

    def called(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.sent)


class Stop(Callback):
    """Ends the training after a batch (counted from 1), as `max_time` does."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.after:
            trainer.should_stop = True


MOMENTS = [
    *[("on_train_batch_end", number) for number in (1, 2, 4, 5, 7)],
    *[("on_train_batch_start", number) for number in (1, 3, 6)],
    *[("on_validation_batch_end", number) for number in (1, 2, 3)],
    *[("on_validation_start", 1), ("on_validation_end", 1), ("on_validation_end", 2)],
    *[("on_train_epoch_end", 1), ("on_train_epoch_start", 2), ("on_save_checkpoint", 1), ("on_save_checkpoint", 2)],
]
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"accumulate_grad_batches": 2, "val_check_interval": 0.5},
    "accumulation-that-an-epoch-cuts-short": {"accumulate_grad_batches": 2},
    "validation-every-step": {"val_check_interval": 1},
    "validation-every-other-epoch": {"check_val_every_n_epoch": 2},
    "validation-over-epochs": {"val_check_interval": 3, "check_val_every_n_epoch": None},
}


@pytest.mark.parametrize("way", WAYS)
def test_stopped_by_a_signal_and_resumed_equals_never_stopped(tmp_path, way):
    setting = Setting(tmp_path / "run", saving={"every_n_seconds": 1e9}, **WAYS[way])
    reference = tmp_path / "uninterrupted"
    setting.train()
    setting.folder.rename(reference)
    for moment in MOMENTS:
        with signals_raise(), suppress(Interrupted):  # a signal to a run that is about to end changes nothing
            setting.train(Kill(*moment))
        assert not list(setting.folder.rglob("*.tmp*"))
        setting.train()
        assert_same_run(reference, setting.folder, str(moment))
        shutil.rmtree(setting.folder)


def test_a_signal_saves_at_the_end_of_the_step_and_ends_the_run(tmp_path):
    setting = Setting(tmp_path / "run", saving={"every_n_seconds": 1e9})
    with signals_raise(), pytest.raises(Interrupted):
        setting.train(Kill("on_train_batch_end", 3, signal.SIGINT))
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3


def test_a_signal_within_a_validation_does_not_wait_for_its_end(tmp_path):
    setting = Setting(tmp_path / "run", saving={"every_n_seconds": 1e9})
    batches: list[int] = []

    class Count(Callback):
        def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            if not trainer.sanity_checking:
                batches.append(trainer.global_step)

    with signals_raise(), pytest.raises(Interrupted):
        setting.train(Kill("on_validation_batch_start", 1), Count())
    assert batches == [5]
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5


def test_the_second_signal_does_not_wait(tmp_path):
    setting = Setting(tmp_path / "run", saving={"every_n_seconds": 1e9})

    class Impatient(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the training goes on")

    with signals_raise(), pytest.raises(Interrupted) as stopped:
        setting.train(Impatient())
    assert stopped.value.exit_code == 130
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 0


@pytest.mark.parametrize("after", [1, 2, 4, 7])
@pytest.mark.parametrize("way", ["plain", "accumulation", "validation-over-epochs"])
def test_the_rest_of_an_epoch_that_was_cut_short_is_trained_on(tmp_path, way, after):
    setting = Setting(tmp_path / "run", saving={"every_n_seconds": 0.0}, **WAYS[way])
    expected = setting.train()
    table = (setting.folder / "metrics.csv").read_text()
    shutil.rmtree(setting.folder)
    setting.train(Stop(after))
    resumed = setting.train()
    assert (setting.folder / "metrics.csv").read_text() == table
    for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step"):
        assert differences(expected[key], resumed[key]) == [], key


def test_a_run_folder_that_is_deleted_is_an_error(tmp_path):
    class Delete(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            shutil.rmtree(Path(trainer.default_root_dir))

    setting = Setting(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="has been deleted or moved"):
        setting.train(Delete())
    assert not (tmp_path / "run").exists()
