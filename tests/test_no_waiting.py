"""Nothing in a training step waits for the device: the steps of every shipped config, on a device without values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators.cpu import CPUAccelerator
from torch import Tensor

from architectures.t5.sampling import _sample_tokens
from callbacks.progress import PlainProgress, RichProgress
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from datamodules.copied_ahead import copied_ahead
from datamodules.images.augmentation import Augmentation
from lightning_modules.calibration import CalibrationError
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.epoch_sums import EpochSums
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.temperature import FittedTemperature
from lightning_modules.text_seq2seq import TextSeq2Seq
from lightning_modules.training_module import TrainingModule
from tests.test_configs import ALIKE, DOWNLOADED, HUGE, RUNS, Built, command_line, with_configs
from tests.test_configs_with_two_processes import CHANGES, CIFAR10, write_data
from tests.waiting import DEVICE, Waits, no_device
from utils.devices import send

__all__ = ["command_line"]  # a fixture

STEPS = 2


def observers(built: Built) -> list[Callback]:
    callbacks: list[Callback] = built.trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


class EnoughError(Exception):
    """The end of a training that has shown enough."""


class CountSteps(Callback):
    """Counts the waits of some batches after the first optimizer step; the last of the callbacks."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self.batches = -1
        waits.counting = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += trainer.global_step > 0
        self.waits.counting = 0 <= self.batches < STEPS
        if self.batches == STEPS:
            raise EnoughError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


def count(
    name: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Built], None] | None = None
) -> Waits:
    """Return the waits of some training steps of a config, with less data and fewer layers."""
    small = CIFAR10 if name.startswith("cifar10") else []
    small = CHANGES["t5/finetune.yaml"] if name in HUGE else CHANGES.get(name, small)
    with DEVICE if name in HUGE else nullcontext():
        built = Built(["fit", *with_configs(name), *small, "--trainer.precision", "32-true", "--run_dir", str(run_dir)])
    built.model.has_weights = True  # initialization may look at them
    if change is not None:
        change(built)
    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda self, device: None)
    monkeypatch.setattr(ResumeCheckpoint, "save", lambda *_: None)  # not part of a step, and there is nothing to save
    monkeypatch.setattr(built.trainer.strategy, "_root_device", DEVICE)
    with no_device(monkeypatch) as waits:
        observers(built).append(CountSteps(waits))
        with pytest.raises(EnoughError):
            built.trainer.fit(built.model, built.datamodule)
    return waits


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in RUNS if name not in DOWNLOADED],
)
def test_a_config_trains_without_a_wait(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    waits = count(name, tmp_path / "run", monkeypatch)
    assert waits.operators > 100 * STEPS
    assert waits.found == []


def test_images_on_the_device_and_a_bar_make_nothing_wait(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    monkeypatch.setattr("datamodules.images.image_set.free_bytes", lambda device: 10**10)
    loaders: list[Any] = []

    def change(built: Built) -> None:
        bar = RichProgress()
        bar._metrics_throttle.due = lambda: False  # type: ignore[method-assign]  # twice a second it may wait
        observers(built)[:] = [bar if isinstance(each, PlainProgress) else each for each in observers(built)]
        load = built.datamodule.train_dataloader

        def train_dataloader() -> Any:
            loaders.append(load())
            return loaders[-1]

        monkeypatch.setattr(built.datamodule, "train_dataloader", train_dataloader)

    waits = count("quickstart/images.yaml", tmp_path / "run", monkeypatch, change)
    assert waits.found == []
    batch = next(iter(loaders[0]))
    assert batch.images.device == batch.labels.device == DEVICE
    assert len(set(batch.positions.tolist())) == len(batch.images) == 64


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("quickstart/images.yaml", ImageClassifier),
        ("quickstart/seq2seq.yaml", TextSeq2Seq),
        ("char_rnn.yaml", CharLanguageModel),
    ],
)
def test_a_number_read_in_a_training_step_is_found(
    name: str, module: type[TrainingModule], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    step: Any = module.training_step

    def reads(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        loss = step(self, batch, batch_idx)
        assert loss.item() > 0
        return loss

    monkeypatch.setattr(module, "training_step", reads)
    waits = count(name, tmp_path / "run", monkeypatch)
    assert len(waits.found) == STEPS
    assert all("reads a number" in wait and "assert loss.item() > 0" in wait for wait in waits.found)


# --- what is counted -----------------------------------------------------------------------------------------------

THERE = torch.ones(4, device=DEVICE)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (lambda: THERE.sum().item(), "reads a number"),
        (lambda: float(THERE[0]), "reads a number"),
        (lambda: bool(THERE[0] > 0), "reads a number"),
        (lambda: THERE.tolist(), "copies from the device"),
        (lambda: THERE.cpu(), "copies from the device"),
        (lambda: torch.zeros(4).copy_(THERE), "copies from the device"),
        (lambda: torch.ones(4).to(DEVICE), "copies to the device without non_blocking"),
        (lambda: torch.ones(4).to(DEVICE, non_blocking=True), "from memory that is not pinned"),
        (lambda: torch.tensor([1.0], device=DEVICE), "torch.tensor copies to the device"),
        (lambda: THERE + torch.ones(4), "of the CPU and of the device together"),
        (lambda: THERE.nonzero(), "aten.nonzero.default: a shape"),
        (lambda: THERE[THERE > 0], "aten.index.Tensor: a shape"),
        (lambda: THERE.masked_select(THERE > 0), "aten.masked_select.default: a shape"),
        (lambda: THERE.unique(), "aten._unique2.default: a shape"),
        (lambda: torch.equal(THERE, THERE), "aten.equal.default: a shape"),
        (lambda: THERE.double(), "numbers of float64"),
        (lambda: torch.zeros(4, dtype=torch.float64, device=DEVICE), "numbers of float64"),
        (lambda: torch.repeat_interleave(THERE, THERE.long()), "aten.repeat_interleave.Tensor: a shape"),
    ],
)
def test_what_waits_is_found_with_its_line(
    code: Callable[[], object], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_device(monkeypatch) as waits:
        with suppress(NotImplementedError, RuntimeError):  # what has no values goes no further
            code()
        [wait] = waits.found
    assert found in wait
    assert f"{__file__}:" in wait


def test_what_does_not_wait_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with no_device(monkeypatch) as waits:
        chosen = torch.tensor([True, False, True, True]).nonzero().flatten()  # on the CPU, which has its numbers
        assert THERE.index_select(0, send(chosen, DEVICE)).shape == (3,)
        masked = THERE.clone()
        masked[masked > 0] = 2.0
        torch.where(masked > 0, THERE, 0.0).mul_(torch.tensor(3.0))
        torch.full((4,), float(chosen[0]), device=DEVICE)
        assert torch.repeat_interleave(THERE, THERE.long(), output_size=4).shape == (4,)
        assert send(torch.ones(2), torch.device("cpu")).tolist() == [1.0, 1.0]
    assert waits.found == []
    assert waits.operators > 8


# --- parts of a step that no config has ----------------------------------------------------------------------------

AUGMENTATIONS = [
    Augmentation(crop_padding=2, crop_mode="reflect", flip="alternating", erasing=0.5, mixup_alpha=0.2),
    Augmentation(policy="trivial", cutmix_alpha=1.0, progressive_sizes=[(0.5, 12)]),
    Augmentation(flip="random", policy="rand", rand_operations=3, cutout=4),
    Augmentation(resized_crop=0.35),
]


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_no_augmentation_waits(augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(64, 3, 16, 16, dtype=torch.uint8, device=DEVICE)
    labels = torch.zeros(64, dtype=torch.int64, device=DEVICE)
    with no_device(monkeypatch) as waits:
        for step in range(3):
            augmented, targets = augmentation(
                images,
                labels,
                torch.arange(64),
                key=(0, 1, step, 0),
                num_classes=10,
                fill=(0.5, 0.5, 0.5),
                progress=0.1,
            )
            assert augmented.device == targets.device == DEVICE
            assert len(augmented) == len(targets) == 64
    assert waits.found == []


def test_batches_copied_ahead_make_nothing_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with no_device(monkeypatch) as waits:
        batches: list[tuple[Tensor, int]] = [(torch.full((3,), step), step) for step in range(4)]
        there = list(copied_ahead(batches, DEVICE))
    assert [(batch.device, step) for batch, step in there] == [(DEVICE, step) for step in range(4)]
    assert waits.found == []


def test_processes_do_not_wait_for_each_other_before_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would have all agree on a signal, which `ResumeCheckpoint` does without a wait (`Agreement`)."""
    built = Built(["fit", *with_configs("quickstart/images.yaml"), "--run_dir", str(tmp_path / "run")])
    sent: list[Tensor] = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: sent.append(tensor))
    built.trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()
    assert sent == []


def test_figures_and_samples_need_no_float64_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = torch.zeros(8, 10, device=DEVICE), torch.zeros(8, dtype=torch.int64, device=DEVICE)
    with no_device(monkeypatch) as waits:
        FittedTemperature().to(DEVICE).update(logits, labels)
        calibration = CalibrationError().to(DEVICE)
        calibration.update(logits.softmax(1), labels)
        assert calibration.compute().device == DEVICE
        assert _sample_tokens(logits[None], torch.zeros(1, 8, device=DEVICE)).shape == (1, 8)
        sums = EpochSums("loss", "examples")
        sums.add(logits.sum(), 8)
    assert not [wait for wait in waits.found if "float64" in wait]
