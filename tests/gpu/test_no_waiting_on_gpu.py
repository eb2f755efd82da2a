"""On a GPU, PyTorch itself reports what waits for it: no training step does, and images are augmented as on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.run.resume_checkpoint import ResumeCheckpoint
from datamodules.copied_ahead import copied_ahead
from datamodules.images.augmentation import Augmentation
from tests.test_configs import Built, command_line, with_configs
from tests.test_no_waiting import EnoughError, observers

__all__ = ["command_line"]  # a fixture

ACCELERATOR, DEVICE = "gpu", torch.device("cuda:0")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ACCELERATOR == "gpu" and not torch.cuda.is_available(), reason="needs a GPU"),
]


class BuiltForGPU(Built):
    """The command line up to the point where training would start, with a GPU."""

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        self.config[self.subcommand].trainer.accelerator = ACCELERATOR


class ForbidWaiting(Callback):
    """Makes PyTorch raise an error where a step after the first waits; the last of the callbacks."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        torch.cuda.set_sync_debug_mode("error" if batch_idx < 5 else "default")
        if batch_idx == 5:
            raise EnoughError


@pytest.mark.parametrize("in_memory", [True, False], ids=["images-on-the-gpu", "images-copied-ahead"])
@pytest.mark.parametrize("name", ["quickstart/images.yaml", "quickstart/seq2seq.yaml", "char_rnn.yaml"])
def test_a_training_step_does_not_wait(
    name: str, in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datamodules.images.image_set.SHARE_OF_DEVICE", float(in_memory))
    monkeypatch.setattr(ResumeCheckpoint, "save", lambda *_: None)
    precision = ["--trainer.precision", "bf16-mixed"]
    built = BuiltForGPU(["fit", *with_configs(name), *precision, "--run_dir", str(tmp_path / "run")])
    observers(built).append(ForbidWaiting())
    try:
        with pytest.raises(EnoughError):
            built.trainer.fit(built.model, built.datamodule)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(crop_padding=4, crop_mode="zero", flip="random", cutout=8),
        Augmentation(crop_padding=2, flip="alternating", erasing=0.5, cutmix_alpha=1.0),
    ],
)
def test_images_are_augmented_as_on_the_cpu(augmentation: Augmentation) -> None:
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(64)
    options: dict[str, Any] = {"key": (0, 1, 2, 0), "num_classes": 10, "fill": (0.5, 0.4, 0.3), "progress": 0.0}
    here = augmentation(images, positions % 10, positions, **options)
    there = augmentation(images.to(DEVICE), (positions % 10).to(DEVICE), positions, **options)
    assert torch.equal(there[0].cpu(), here[0])
    assert torch.allclose(there[1].cpu().double(), here[1].double())


def test_batches_copied_ahead_hold_what_they_should() -> None:
    batches = [(torch.full((1000, 1000), float(step)), torch.arange(step)) for step in range(20)]
    for step, (there, numbers) in enumerate(copied_ahead(iter(batches), DEVICE)):
        product = there @ there  # keeps the device busy while the next batch is copied
        assert product[0, 0].item() == pytest.approx(1000.0 * step * step)
        assert torch.equal(numbers.cpu(), torch.arange(step))
