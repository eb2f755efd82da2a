"""Three runs at tolerance zero: one never interrupted, one killed, and one resumed from what the killed one left.

What `kill -9` leaves is the run folder as it is at that moment. So the uninterrupted run copies its folder at every
step, and a new run is resumed from each copy of interest, in the same place.
"""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer

from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.run.saved_position import Moment
from datamodules.images.augmentation import Augmentation
from lightning_modules.optim.muon import Muon
from lightning_modules.optim.schedules import Constant
from tests.callbacks.fakes import Snapshots
from tests.callbacks.run.stopped_run import Cut, PowerCut, Setting, assert_same_file, assert_same_run
from utils.checkpoints import newest_intact_checkpoint


def check(tmp_path: Path, stops: list[str], **arguments: Any) -> None:
    """Runs without interruption, then resumes from each of `stops`, and compares everything that is left."""
    setting = Setting(tmp_path / "run", **arguments)
    reference, copies = tmp_path / "uninterrupted", tmp_path / "copies"
    ended = setting.train(Snapshots(setting.folder, copies))
    setting.folder.rename(reference)
    assert ended["current_model_state"]["architecture.fc.weight"].isfinite().all()  # else any two are alike
    for stop in stops:
        shutil.copytree(copies / stop, setting.folder)
        setting.train()
        assert_same_run(reference, setting.folder, stop)
        shutil.rmtree(setting.folder)


def test_every_kind_of_moment(tmp_path):
    """First step, mid-epoch, last batch of an epoch, just after its validation, its end, and the start of the next."""
    stops = ["batch-1", "batch-2", "batch-4", "batch-5", "validation-5", "epoch-5", "batch-6", "batch-7", "batch-10"]
    check(tmp_path, [*stops, "validation-10", "epoch-10"])


def test_validation_in_mid_epoch_and_accumulation(tmp_path):
    stops = ["batch-1", "validation-2", "batch-3", "batch-4", "validation-4", "epoch-5", "batch-8", "batch-9"]
    check(tmp_path, stops, accumulate_grad_batches=2, val_check_interval=0.5)


def test_muon_and_sparse_checkpoints(tmp_path):
    check(
        tmp_path,
        ["batch-3", "batch-4", "validation-4", "batch-7", "validation-7", "batch-9"],
        augmentation=Augmentation(flip="alternating", cutout=4, policy="trivial", cutmix_alpha=1.0),
        optimizer=lambda groups: Muon(groups, lr=0.1),
        saving={"every_n_steps": 2},
        val_check_interval=2,
        gradient_clip_val=1.0,
    )


def test_validation_counted_over_epochs(tmp_path):
    """Every third batch of the run, so at a different place in each epoch."""
    stops = ["batch-4", "validation-6", "batch-7", "batch-8", "validation-9", "batch-10"]
    check(tmp_path, stops, val_check_interval=3, check_val_every_n_epoch=None)


@pytest.mark.parametrize(
    ("stops", "settings"),
    [
        (["batch-2", "batch-3", "epoch-3"], {"limit_train_batches": 1, "max_epochs": 4}),
        (["batch-6", "batch-11"], {"accumulate_grad_batches": 8, "max_epochs": 3}),
        (["batch-6", "batch-8"], {"max_epochs": -1, "max_steps": 10}),
        (["batch-6"], {"max_epochs": -1, "max_steps": 10, "limit_val_batches": 0}),
    ],
)
def test_between_two_epochs(tmp_path, stops, settings):
    """Epochs of a single step, which have no place between two steps; and runs that end at a number of steps."""
    if settings.get("limit_val_batches") == 0:  # no best.ckpt to compare
        setting = Setting(tmp_path / "run", **settings)
        setting.train(Snapshots(setting.folder, tmp_path / "copies"))
        setting.folder.rename(tmp_path / "uninterrupted")
        shutil.copytree(tmp_path / "copies" / stops[0], setting.folder)
        setting.train()
        last = Path("checkpoints") / "last.ckpt"
        assert_same_file(tmp_path / "uninterrupted" / last, setting.folder / last, stops[0])
    else:
        check(tmp_path, stops, **settings)
    assert all(newest_intact_checkpoint(tmp_path / "copies" / stop) for stop in stops)


def test_an_exception_and_a_second_stop(tmp_path):
    setting = Setting(tmp_path / "run")
    setting.train()
    setting.folder.rename(tmp_path / "uninterrupted")
    for after in (3, 6, 8):
        with pytest.raises(PowerCut):
            setting.train(Cut(after))
    setting.train()
    assert_same_run(tmp_path / "uninterrupted", setting.folder, "three cuts")


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(tmp_path):
    setting = Setting(tmp_path / "run")
    setting.train()
    setting.folder.rename(tmp_path / "uninterrupted")
    with pytest.raises(PowerCut):
        setting.train(Cut(9))
    last = setting.folder / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match="last.ckpt is damaged"):
        setting.train()
    assert_same_run(tmp_path / "uninterrupted", setting.folder, "a damaged checkpoint")


def test_a_run_that_has_ended_stays_as_it_is(tmp_path):
    setting = Setting(tmp_path / "run")
    setting.train()
    before = {path: path.read_bytes() for path in setting.folder.rglob("*") if path.is_file()}
    setting.train()
    assert {path: path.read_bytes() for path in setting.folder.rglob("*") if path.is_file()} == before


def test_a_run_that_starts_drops_the_metrics_of_an_earlier_start(tmp_path):
    setting = Setting(tmp_path / "run")
    setting.train()
    metrics = (setting.folder / "metrics.csv").read_text()
    shutil.rmtree(setting.folder / "checkpoints")  # what a run leaves that was killed before its first checkpoint
    setting.train()
    assert (setting.folder / "metrics.csv").read_text() == metrics


def test_more_epochs_after_the_end(tmp_path):
    """Two epochs and, resumed, a third, against three at once; without a schedule that depends on the length."""
    setting = Setting(tmp_path / "run", schedule=Constant, max_epochs=3)
    setting.train()
    setting.folder.rename(tmp_path / "at-once")
    setting.train(max_epochs=2)
    setting.train()
    assert_same_run(tmp_path / "at-once", setting.folder, "two epochs")


def test_saves_by_steps_and_by_time(tmp_path, monkeypatch):
    def saved_at(saving: dict[str, Any], **trainer: Any) -> list[int]:
        steps: list[int] = []
        save = ResumeCheckpoint.save

        def noted(self: ResumeCheckpoint, trainer: Trainer, *moment: Moment) -> None:
            steps.append(trainer.global_step)
            save(self, trainer, *moment)

        monkeypatch.setattr(ResumeCheckpoint, "save", noted)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        Setting(folder, saving=saving, **trainer).train()
        monkeypatch.undo()
        assert (folder / "checkpoints" / "last.ckpt").is_file()
        assert not list((folder / "checkpoints").glob("*.tmp*"))
        return steps

    assert saved_at({"every_n_seconds": 1e9}) == [0, 10]  # before the first step, too
    assert saved_at({"every_n_seconds": 1e9, "every_n_steps": 3}) == [0, 3, 6, 9, 10]
    assert saved_at({"every_n_seconds": 0}) == list(range(11))
    assert saved_at({"every_n_seconds": 0}, val_check_interval=2) == list(range(11))
    assert saved_at({"every_n_seconds": 0}, val_check_interval="00:01:00:00") == list(range(11))
    # only between optimizer steps
    assert saved_at({"every_n_seconds": 0}, accumulate_grad_batches=2) == list(range(7))


def test_a_checkpoint_that_is_due_on_another_process_is_saved_once(tmp_path, monkeypatch):
    """The second of two processes. The first finds at step 5 that a checkpoint is due, and the answer comes later."""
    saved: list[int] = []
    answers: list[list[int]] = [[0, 0]]

    class Late:
        def __init__(self, count: int) -> None:
            pass

        def largest(self, *mine: int) -> list[int]:
            there = (0, 1) if 5 <= trainer.global_step <= 6 else (0, 0)  # until it has saved, too
            answers.append([max(pair) for pair in zip(mine, there, strict=True)])
            return answers[-2]

    monkeypatch.setattr("callbacks.run.resume_checkpoint.Agreement", Late)
    trainer: Any = SimpleNamespace(
        is_global_zero=False,
        global_step=0,
        ckpt_path="last.ckpt",
        accumulate_grad_batches=1,
        fast_dev_run=False,
        val_check_batch=None,
        loggers=[],
        callbacks=[],
        max_steps=-1,
        fit_loop=SimpleNamespace(
            epoch_progress=SimpleNamespace(current=SimpleNamespace(ready=1, processed=0)),
            epoch_loop=SimpleNamespace(_batches_that_stepped=0),
        ),
        default_root_dir=str(tmp_path),
        save_checkpoint=lambda path, weights_only: saved.append(trainer.global_step),
    )
    callback = ResumeCheckpoint(every_n_seconds=1e9, every_n_steps=30)
    callback.setup(trainer, LightningModule(), "fit")
    callback.on_train_start(trainer, LightningModule())
    for trainer.global_step in range(1, 50):
        callback.on_train_batch_start(trainer, LightningModule(), None, trainer.global_step)
    assert saved == [6, 36]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="every_n_seconds"):
        ResumeCheckpoint(every_n_seconds=-1)
    with pytest.raises(ValueError, match="every_n_steps"):
        ResumeCheckpoint(every_n_steps=0)
