"""What a datamodule asks of its trainer, under real ones where their state counts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.trainer_state import model_of, planned_epochs, stage_of
from tests.datamodules.trainers import trainer_in


class Asking(LightningModule):
    """Notes what is asked of the trainer in each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.stages: set[str | None] = set()
        self.planned = math.nan

    def note(self) -> None:
        assert model_of(self.trainer) is self
        self.stages.add(stage_of(self.trainer))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.note()
        self.planned = planned_epochs(self.trainer)
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.note()

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_stages_have_the_names_of_the_trainers_methods(tmp_path: Path) -> None:
    data: Any = DataLoader(torch.zeros(1))  # type: ignore[arg-type]
    runs = {
        "fit": lambda trainer, model: trainer.fit(model, data, data),
        "validate": lambda trainer, model: trainer.validate(model, data, verbose=False),
        "test": lambda trainer, model: trainer.test(model, data, verbose=False),
        "predict": lambda trainer, model: trainer.predict(model, data, return_predictions=False),
    }
    for stage, run in runs.items():
        model = Asking()
        run(trainer_in(tmp_path), model)
        assert model.stages == {stage}
    assert stage_of(None) is None
    assert stage_of(Trainer(logger=False, enable_checkpointing=False)) is None
    assert model_of(None) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"max_epochs": 3}, 3),
        ({"max_epochs": 9, "max_steps": 6}, 6 / 4),
        ({"max_epochs": -1, "max_steps": 8}, 2),
        ({"max_epochs": -1, "max_steps": 4, "accumulate_grad_batches": 2}, 2),
        ({"max_epochs": -1, "max_steps": 4, "accumulate_grad_batches": 3}, 2),
        ({"max_epochs": 9, "max_steps": 6, "limit_train_batches": 3}, 2),
    ],
)
def test_the_planned_length_is_that_of_the_training(tmp_path: Path, options: dict[str, Any], epochs: float) -> None:
    model = Asking()
    trainer = trainer_in(tmp_path, **options)
    trainer.fit(model, DataLoader(torch.zeros(4)))  # type: ignore[arg-type]
    assert model.planned == epochs
    done = trainer.fit_loop.epoch_progress.current.ready
    assert math.ceil(epochs) == done  # what the trainer then did
    assert planned_epochs(None) == math.inf
