"""What a fit ends with: why it stopped early, its best score, its time."""

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping

from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.early_end import EarlyEnd
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.outcome import best_so_far, early_stop_reason, outcome, uses
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.run.summary import Summary
from tests.callbacks.fakes import FakeClock

SCORES = [0.25, 0.75, 0.5, 0.75]


@pytest.fixture
def fit(make_trainer, tiny_data, tiny_classifier, tmp_path):
    """Trains a model whose validations score `SCORES`, each after 10 s, and returns the Trainer."""
    clock = FakeClock()

    class Scored(tiny_classifier):
        def on_validation_epoch_end(self):
            clock.now += 10
            self.log("val/score", SCORES[self.current_epoch])

    def train(*callbacks, resume=False, logger=True, **arguments):
        summary = Summary()
        summary.times.clock = clock
        loggers = [MetricsCSV(str(tmp_path))] if logger else False
        every = [BestCheckpoint("val/score"), ResumeCheckpoint(0), summary, *callbacks]
        settings = {"max_epochs": 4, "num_sanity_val_steps": 0, "logger": loggers, "enable_checkpointing": True}
        trainer = make_trainer(*every, **settings | arguments)
        last = tmp_path / "checkpoints" / "last.ckpt"
        trainer.fit(Scored(), tiny_data(), ckpt_path=last if resume else None, weights_only=True)
        return trainer

    return train


def test_the_first_of_equal_scores_is_the_best(fit):
    assert outcome(fit()) == ["best val/score 0.75 after epoch 2, 0:40"]


def test_a_resumed_run_knows_the_best_and_the_time_of_before(fit):
    fit(max_epochs=3)
    assert outcome(fit(resume=True)) == ["best val/score 0.75 after epoch 2, 0:40"]


def test_without_metrics_csv_the_epoch_is_not_known(fit):
    assert best_so_far(fit(logger=False, max_epochs=2)) == "best val/score 0.75, 0:20"


def test_without_validation_there_is_only_the_time(fit):
    assert outcome(fit(limit_val_batches=0, max_epochs=1)) == ["trained 0:00"]


def test_why_it_stopped_early_is_said_each_time(fit):
    def callbacks():
        return EarlyStopping("val/score", patience=1, mode="max"), EarlyEnd(changed=False)

    said = [outcome(fit(*callbacks())), outcome(fit(*callbacks(), resume=True))]
    reason = "stopped early: Monitored metric val/score did not improve in the last 1 records. Best score: 0.750."
    assert said == [[reason, "best val/score 0.75 after epoch 2, 0:30"]] * 2


def test_a_training_that_trained_on_was_not_stopped(fit):
    trainer = fit(EarlyStopping("val/score", patience=3, mode="max"))
    assert early_stop_reason(trainer) == ""
    assert float(trainer.callback_metrics["val/score"]) == torch.tensor(SCORES[3])


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ("ImageClassifier", "  oneforall classify --ckpt_path 'a b.ckpt' IMAGE"),
        ("TextSeq2Seq", "  oneforall translate --ckpt_path 'a b.ckpt' TEXT"),
    ],
)
def test_a_tested_model_has_the_command_that_answers_at_once(model, first):
    predict = "  oneforall predict --ckpt_path 'a b.ckpt' --data.predict_path PATH"
    assert uses(type(model, (LightningModule,), {})(), "a b.ckpt") == [first, predict]
    assert uses(LightningModule(), "a b.ckpt") == [predict]
