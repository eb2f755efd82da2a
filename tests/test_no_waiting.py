"""Nothing in a training step waits for the device: the steps of every shipped config, on a device without values."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators.cpu import CPUAccelerator

from callbacks.run.resume_checkpoint import ResumeCheckpoint
from tests.test_configs import HUGE, RUNS, Built, command_line, with_configs
from tests.test_configs_with_two_processes import CHANGES, CIFAR10, write_data
from tests.waiting import DEVICE, Waits, no_device

__all__ = ["command_line"]  # a fixture

STEPS = 3


class EnoughError(Exception):
    """The end of a training that has shown enough."""


class CountSteps(Callback):
    """Counts the waits of some steps after the first, from one batch's end to another's; the last of the callbacks."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        waits.counting = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.waits.counting = batch_idx < STEPS
        if not self.waits.counting:
            raise EnoughError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


def changes_of(name: str) -> list[str]:
    if name in HUGE:
        return ["--model.init_from", "null", "--data.tokenizer", "null", "--data.vocab_size", "400"]
    return CHANGES.get(name, CIFAR10 if name.startswith("cifar10") else [])


def count(arguments: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch, huge: bool = False) -> Waits:
    """Return the waits of some training steps of a run."""
    with DEVICE if huge else nullcontext():
        built = Built(["fit", *arguments, "--trainer.precision", "32-true", "--run_dir", str(run_dir)])
    built.model.has_weights = True  # initialization may look at values
    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda self, device: None)
    monkeypatch.setattr(ResumeCheckpoint, "save", lambda *_: None)  # not part of a step, and there is nothing to save
    monkeypatch.setattr(built.trainer.strategy, "_root_device", DEVICE)
    with no_device(monkeypatch) as waits:
        built.trainer.callbacks.append(CountSteps(waits))
        with pytest.raises(EnoughError):
            built.trainer.fit(built.model, built.datamodule)
    return waits


@pytest.mark.parametrize("name", RUNS)
def test_a_config_trains_without_a_wait(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    waits = count([*with_configs(name), *changes_of(name)], tmp_path / "run", monkeypatch, name in HUGE)
    assert waits.operators > 100
    assert waits.found == []
