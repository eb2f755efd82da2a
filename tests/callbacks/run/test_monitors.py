"""What a callback watches must be logged, which is checked before the first step."""

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from callbacks.non_finite import NonFinite
from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.monitors import MonitorCheck


class Watcher(Callback):
    """A callback of a user."""

    monitor = "val/x"


def named(tiny_classifier: type) -> Any:
    """A module that says what it logs."""

    class Named(tiny_classifier):
        def validation_metrics(self) -> list[str]:
            return ["val/loss"]

        def training_metrics(self) -> list[str]:
            return ["train/loss", "lr"]

    return Named()


def check(module: Any, *callbacks: Callback, validation: bool = True) -> None:
    trainer: Any = SimpleNamespace(callbacks=[MonitorCheck(), *callbacks], enable_validation=validation)
    MonitorCheck().on_fit_start(trainer, module)


@pytest.mark.parametrize("callback", [EarlyStopping("val_loss"), ModelCheckpoint(monitor="val_loss"), Watcher()])
def test_a_metric_that_is_not_logged_is_named_with_the_nearest(tiny_classifier, callback):
    message = rf"{type(callback).__name__}\.monitor is {callback.monitor}, .*did you mean val/loss\? It logs val/loss"
    with pytest.raises(ValueError, match=message):
        check(named(tiny_classifier), callback)


def test_metrics_of_training_and_validation_may_be_watched(tiny_classifier):
    watching = [EarlyStopping("val/loss"), EarlyStopping("train/loss"), ModelCheckpoint(monitor="lr")]
    check(named(tiny_classifier), *watching, ModelCheckpoint(), BestCheckpoint("val/accuracy"))


def test_without_validation_nothing_of_it_may_be_watched(tiny_classifier):
    check(named(tiny_classifier), EarlyStopping("train/loss"), BestCheckpoint("val/loss"), validation=False)
    with pytest.raises(ValueError, match="did you mean train/loss"):
        check(named(tiny_classifier), EarlyStopping("val/loss"), validation=False)


def test_what_a_callback_logs_may_be_watched(make_trainer, tiny_classifier, tiny_data):
    stopping = EarlyStopping("train/skipped_steps")
    make_trainer(MonitorCheck(), NonFinite("skip"), stopping).fit(named(tiny_classifier), datamodule=tiny_data())
    assert stopping.best_score == 0
    with pytest.raises(ValueError, match=r"train/skipped_steps, which Named does not log"):
        check(named(tiny_classifier), NonFinite("stop"), stopping)


def test_a_module_that_does_not_say_what_it_logs_is_not_checked(tiny_classifier):
    check(tiny_classifier(), NonFinite("skip"), EarlyStopping("anything"))


def test_refused_before_the_first_step(make_trainer, tiny_classifier, tiny_data):
    trainer = make_trainer(MonitorCheck(), EarlyStopping("val_loss"), num_sanity_val_steps=0)
    with pytest.raises(ValueError, match="val/loss"):
        trainer.fit(named(tiny_classifier), datamodule=tiny_data())
    assert trainer.global_step == 0
