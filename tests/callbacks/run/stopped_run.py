"""A tiny run with everything that a checkpoint has to keep, which is stopped, resumed and compared."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.run.best_checkpoint import BestCheckpoint
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.run.resumed_settings import ResumedSettings
from callbacks.run.run_folder import RunFolder
from callbacks.weight_averaging import EMA
from datamodules.images.augmentation import Augmentation
from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.schedules import OneCycle
from tests.callbacks.run.resumed_run import CLASSES, PowerCut, TinyNet
from utils.checkpoints import newest_intact_checkpoint


class DataInitializedNet(TinyNet):
    def initialize_from_data(self, images: Tensor) -> None:
        self.body[0].weight.data[:3] = images[:3, :, :8, :8] / 10  # type: ignore[operator,union-attr]


class RandomImages(ImageDataModule):
    def __init__(self, augmentation: Augmentation) -> None:
        super().__init__(
            batch_size=8, eval_batch_size=8, augmentation=augmentation, seed=1, split_seed=0, predict_path=None
        )
        self.class_names = [str(k) for k in range(CLASSES)]
        self.mean = self.std = (0.5, 0.5, 0.5)

    def load_training(self) -> tuple[ImageSet, ImageSet]:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (52, 3, 32, 32), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, CLASSES, (52,), generator=generator)
        return ImageSet(images[:40], labels[:40]), ImageSet(images[40:], labels[40:])

    def load_test(self) -> ImageSet:
        raise NotImplementedError


class Cut(Callback):
    """Ends the run by an exception at the end of a batch (counted from 1)."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.after:
            raise PowerCut


class Setting:
    """One way to train, in one folder."""

    def __init__(
        self,
        folder: Path,
        augmentation: Augmentation | None = None,
        ema: dict[str, Any] | None = None,
        optimizer: Any = None,
        schedule: Any = OneCycle,
        saving: dict[str, Any] | None = None,
        **trainer: Any,
    ) -> None:
        self.folder = folder
        self.augmentation = augmentation or Augmentation(crop_padding=2, flip="random", mixup_alpha=0.5)
        self.ema = ema or {"decay": 0.8, "update_starting_at_step": 3}
        self.optimizer = optimizer or (lambda groups: torch.optim.SGD(groups, lr=0.2, momentum=0.9, weight_decay=0.01))
        self.schedule = schedule
        self.saving = saving or {"every_n_seconds": 0.0}
        self.trainer = trainer

    def train(self, *more: Callback, **changes: Any) -> dict[str, Any]:
        """Trains, from the newest checkpoint in the folder if there is one; returns the content of last.ckpt."""
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        checkpoint = newest_intact_checkpoint(self.folder)
        torch.manual_seed(1 if checkpoint else 0)  # a resumed run takes no weights from the seed
        module = ImageClassifier(
            DataInitializedNet(), optimizer=self.optimizer, schedule=self.schedule, label_smoothing=0.1, seed=5
        )
        module.hparams.clear()  # networks and functions; the command line has plain values there
        callbacks = [
            EMA(**self.ema),
            ResumeCheckpoint(**self.saving),
            BestCheckpoint(),
            RunFolder({}),
            ResumedSettings(),  # a config without changes: nothing of what follows may differ
            *more,
        ]
        trainer = Trainer(
            accelerator="cpu",
            default_root_dir=self.folder,
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **{
                "logger": MetricsCSV(str(self.folder)),
                "max_epochs": 2,
                "log_every_n_steps": 2,
                **self.trainer,
                **changes,
            },
        )
        trainer.fit(module, datamodule=RandomImages(self.augmentation), ckpt_path=checkpoint, weights_only=True)
        return torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """The places at which two checkpoints differ, in values, types, shapes or lengths."""
    if type(one) is not type(other):
        return [where]
    if isinstance(one, Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [where]
    if isinstance(one, dict):
        if list(one) != list(other):
            return [f"{where}: {set(one) ^ set(other) or 'order'}"]
        return [place for key in one for place in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [where]
        return [p for k, (a, b) in enumerate(zip(one, other, strict=True)) for p in differences(a, b, f"{where}/{k}")]
    return [] if one == other else [where]


# Irrelevant: Lightning's counts of the validation loop drive its progress bar, and nothing reads current_score; the
# digests of both differ with them.
IGNORED = ("val_loop", "current_score", "training_digests")


def assert_same_file(reference: Path, resumed: Path, stop: str) -> None:
    one, other = (torch.load(path, weights_only=True) for path in (reference, resumed))
    different = [place for place in differences(one, other) if not any(part in place for part in IGNORED)]
    assert different == [], f"{resumed.name} after {stop}"


def assert_same_run(reference: Path, resumed: Path, stop: str) -> None:
    assert (resumed / "metrics.csv").read_text() == (reference / "metrics.csv").read_text(), f"after {stop}"
    for name in ("last.ckpt", "best.ckpt"):
        assert_same_file(reference / "checkpoints" / name, resumed / "checkpoints" / name, stop)
