"""Where a run resumes if the batches of its epochs have changed, and where if they have not."""

import csv
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from lightning_modules.optim.schedules import OneCycle
from tests.callbacks.run.resumed_run import BATCHES, IMAGES, Noise, Rates, cut, fit
from utils.interruption import Interrupted, signals_raise
from utils.resume_position import PLAN_KEY, batch_plan, goes_on_within_epoch


def examples(data: Noise) -> list[int]:
    return [position for batch in data.seen for position in batch]


def test_an_epoch_whose_batch_size_has_changed_begins_again(tmp_path, caplog):
    """Nothing is left out: two whole epochs follow, and the schedule ends with the last step."""
    cut(tmp_path, 3)
    data, rates = Noise(batch_size=4), Rates()
    with caplog.at_level("INFO"):
        fit(tmp_path, rates, data=data, schedule=lambda optimizer, total: OneCycle(optimizer, total, peak=0.0))
    assert "epoch 0 starts again, and the data of the 3 batches already done are repeated" in caplog.text
    assert sorted(examples(data)) == sorted([*range(IMAGES), *range(IMAGES)])
    assert {len(batch) for batch in data.seen} == {4}
    assert rates.at == pytest.approx({step: 0.1 * (1 - step / 23) for step in range(3, 23)})
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(
        float(row["train/accuracy"]) * IMAGES == pytest.approx(round(float(row["train/accuracy"]) * 40)) for row in rows
    )


def test_between_two_epochs_another_batch_size_needs_no_repetition(tmp_path, caplog):
    fit(tmp_path, max_epochs=1)
    data = Noise(batch_size=20)
    with caplog.at_level("INFO"):
        fit(tmp_path, data=data)
    assert "starts again" not in caplog.text
    assert sorted(examples(data)) == list(range(IMAGES))
    assert len(data.seen) == 2


def test_the_same_batches_go_on_within_the_epoch(tmp_path, caplog):
    """An unchanged run, and one that accumulates from the next batch on, train on what is left of the epoch."""
    for accumulate in (1, 2):
        folder = tmp_path / str(accumulate)
        cut(folder, 2)
        data = Noise()
        with caplog.at_level("INFO"):
            fit(folder, data=data, max_epochs=1, accumulate_grad_batches=accumulate)
        assert len(data.seen) == 3
        assert "starts again" not in caplog.text
    cut(tmp_path / "odd", 3)
    data = Noise()
    fit(tmp_path / "odd", data=data, max_epochs=1, accumulate_grad_batches=2)
    assert len(data.seen) == BATCHES  # a group of two would have lacked its first batch


class CutInValidation(Callback):
    """Asks the run to stop in its n-th validation (counted from 1)."""

    def __init__(self, number: int) -> None:
        self.left = number

    def on_validation_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self.left -= not trainer.sanity_checking
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [1, 2])
def test_an_epoch_that_lacked_only_its_validation_is_validated_although_the_batches_have_changed(tmp_path, number):
    """No row of metrics is missing, and no batch is repeated."""
    with signals_raise(), pytest.raises(Interrupted):
        fit(tmp_path, CutInValidation(number))
    data = Noise(batch_size=4)
    fit(tmp_path, data=data)
    assert sorted(examples(data)) == sorted([*range(IMAGES)] * (2 - number))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(row["val/loss"] and row["train/loss"] for row in rows)


def test_a_limit_may_be_lifted_in_mid_epoch(tmp_path):
    cut(tmp_path, 2, limit_train_batches=3)
    data = Noise()
    fit(tmp_path, data=data, max_epochs=1)
    assert len(data.seen) == BATCHES - 2
    fewer = tmp_path / "fewer"
    cut(fewer, 4)
    data = Noise()
    fit(fewer, data=data, max_epochs=1, limit_train_batches=2)
    assert len(data.seen) == 2  # the epoch, as it is now, from its beginning


def test_a_run_that_ends_by_steps_notices_other_batches_too(tmp_path):
    ending = {"max_epochs": -1, "max_steps": 12}
    cut(tmp_path, 3, **ending)
    data = Noise(batch_size=4)
    fit(tmp_path, data=data, **ending)
    assert sorted(examples(data)[:IMAGES]) != list(range(IMAGES))  # nine steps of four
    assert len(data.seen) == 9
    assert len(set(examples(data))) == 36


def test_a_run_that_steps_end_before_its_epochs_keeps_its_schedule(tmp_path):
    ending: dict[str, Any] = {
        "max_epochs": 2,
        "max_steps": 7,
        "schedule": lambda optimizer, total: OneCycle(optimizer, total, peak=0.0),
    }
    first, second = Rates(), Rates()
    cut(tmp_path, 3, first, **ending)
    fit(tmp_path, second, **ending)
    assert first.at | second.at == pytest.approx({step: 0.1 * (1 - step / 7) for step in range(7)})
    assert list(second.at) == [3, 4, 5, 6]


@pytest.mark.parametrize("what", ["world_size", "digest"])
def test_another_number_of_processes_or_other_batches_begin_the_epoch_again(what):
    trainer: Any = SimpleNamespace(
        world_size=2,
        num_training_batches=5,
        accumulate_grad_batches=1,
        train_dataloader=Noise().train_dataloader(),
        strategy=SimpleNamespace(broadcast=lambda value: value),
    )
    counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    done = dict.fromkeys(counts, 2)
    fit_loop = {
        "epoch_progress": {"total": dict(counts), "current": dict(counts)},
        "epoch_loop.batch_progress": {"total": dict(done), "current": dict(done)},
    }
    checkpoint = {"loops": {"fit_loop": fit_loop}, "global_step": 2, PLAN_KEY: batch_plan(trainer)}
    assert goes_on_within_epoch(trainer, checkpoint)
    checkpoint[PLAN_KEY] = {**batch_plan(trainer), what: 4}
    assert not goes_on_within_epoch(trainer, checkpoint)
    del checkpoint[PLAN_KEY]  # of an earlier version
    assert goes_on_within_epoch(trainer, checkpoint)
