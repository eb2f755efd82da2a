"""A tiny run on random images, which is cut short and resumed with other settings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.run.resumed_settings import ResumedSettings
from callbacks.run.run_folder import RunFolder
from callbacks.run.summary import Summary
from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.schedules import Constant
from utils.batches import ImageBatch, RawImageBatch

IMAGES, CLASSES, BATCHES = 40, 10, 5  # batches of 8 in an epoch


class TinyNet(ImageClassifierNet):
    head = "fc"

    def __init__(self) -> None:
        super().__init__(CLASSES)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3))
        self.fc = nn.Linear(6 * 16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(images).flatten(1))


class Noise(ImageDataModule):
    """Random images, which notes the examples of each training batch."""

    def __init__(self, batch_size: int = 8, labels_seed: int = 0, count: int = IMAGES) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=8, seed=1)
        self.class_names = [str(k) for k in range(CLASSES)]
        self.mean = self.std = (0.5, 0.5, 0.5)
        self.labels_seed, self.count = labels_seed, count
        self.seen: list[list[int]] = []

    def load_training(self) -> tuple[ImageSet, ImageSet]:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (self.count + 8, 3, 32, 32), generator=generator, dtype=torch.uint8)
        generator.manual_seed(self.labels_seed)
        labels = torch.randint(0, CLASSES, (self.count + 8,), generator=generator)
        return ImageSet(images[:-8], labels[:-8]), ImageSet(images[-8:], labels[-8:])

    def load_test(self) -> ImageSet:
        raise NotImplementedError

    def augment(self, batch: RawImageBatch) -> ImageBatch:
        self.seen.append(batch.positions.tolist())
        return super().augment(batch)


class PowerCut(BaseException):
    pass


class Cut(Callback):
    """Ends the run before a batch of it (counted from 0)."""

    def __init__(self, before: int) -> None:
        self.before = before

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.before:
            raise PowerCut


class Rates(Callback):
    """Notes the learning rate of the first group at each optimizer step."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        self.at[trainer.global_step] = optimizer.param_groups[0]["lr"]


def sgd(lr: float = 0.1, **options: Any) -> Any:
    return lambda groups: torch.optim.SGD(groups, lr=lr, **{"momentum": 0.9, **options})


def fit(
    folder: Path,
    *more: Callback,
    optimizer: Any = None,
    schedule: Any = Constant,
    data: ImageDataModule | None = None,
    changed: bool = True,
    kind: type[ImageClassifier] = ImageClassifier,
    **trainer: Any,
) -> dict[str, Any]:
    """Trains, from `last.ckpt` if there is one; returns the content of `last.ckpt` at the end."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    torch.manual_seed(0)
    module = kind(TinyNet(), optimizer=optimizer or sgd(), schedule=schedule, seed=5)
    module.hparams.clear()
    callbacks = [RunFolder({}), ResumedSettings(changed), Summary(), ResumeCheckpoint(every_n_seconds=0.0), *more]
    Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=callbacks,
        logger=MetricsCSV(str(folder)),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **{"max_epochs": 2, **trainer},
    ).fit(module, datamodule=data or Noise(), ckpt_path=str(last) if last.exists() else None, weights_only=True)
    return torch.load(last, weights_only=True)


def cut(folder: Path, before: int, *more: Callback, **settings: Any) -> None:
    with pytest.raises(PowerCut):
        fit(folder, *more, Cut(before), **settings)
