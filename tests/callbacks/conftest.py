"""A classifier small enough to run a whole Trainer in a fraction of a second."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    """`count` images whose every pixel is the label times 20, plus the label (or -1) and, for predict, the index."""

    def __init__(self, count: int, classes: int, predict: bool = False, known: bool = True) -> None:
        self.labels = torch.arange(count) % classes
        self.images = (self.labels * 20).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
        self.predict, self.known = predict, known

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        label = self.labels[index] if self.known else torch.tensor(-1)
        return (self.images[index], label, torch.tensor(index)) if self.predict else (self.images[index], label)


class TinyData(LightningDataModule):
    def __init__(self, classes: int = 3, count: int = 10, batch_size: int = 4, known: bool = True) -> None:
        super().__init__()
        self.classes, self.count, self.batch_size, self.known = classes, count, batch_size, known
        self.class_names: list[str] | None = ["a", "b", "c"][:classes]
        self.mean = self.std = (0.5, 0.5, 0.5)
        self.input_size = 8
        self.predict_path: str | None = None
        self.predict_names = [str(index) for index in range(count)]
        self.predict_classes: list[str] | None = None
        self.predict_errors: dict[int, str] = {}

    def _loader(self, predict: bool = False) -> DataLoader:
        return DataLoader(Images(self.count, self.classes, predict, self.known), batch_size=self.batch_size)

    def train_dataloader(self) -> DataLoader:
        return self._loader()

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self) -> DataLoader:
        return self._loader(predict=True)


class TinyClassifier(LightningModule):
    """Answers `answers[label]`, with probability 0.9 minus a hundredth of the position in the batch."""

    input_size = 8
    unit = "images"

    def __init__(self, answers: list[int] | None = None, class_names: list[str] | None = None) -> None:
        super().__init__()
        self.answers = [0, 1, 2] if answers is None else answers
        self.class_names = class_names
        self.architecture = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(256, 3)
        )

    def probabilities(self, labels: Tensor) -> Tensor:
        top = 0.9 - 0.01 * torch.arange(len(labels))
        answer = torch.tensor(self.answers)[labels.clamp(min=0)]
        probabilities = ((1 - top) / 2)[:, None].repeat(1, 3)
        probabilities[torch.arange(len(labels)), answer] = top
        return probabilities

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.architecture(batch[0].float() / 255).square().mean()
        self.log("train/loss", loss, on_epoch=True, on_step=False)
        self.log("lr", 0.1, on_epoch=True, on_step=False)
        return loss

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> dict[str, Tensor]:
        images, labels = batch
        probabilities = self.probabilities(labels)
        correct = (probabilities.argmax(1) == labels).float().mean()
        self.log(f"{stage}/accuracy", correct, batch_size=len(labels))
        self.log(f"{stage}/loss", -probabilities.max(1).values.log().mean(), batch_size=len(labels))
        return {"loss": correct, "probabilities": probabilities, "labels": labels, "images": images}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        _, labels, index = batch
        return {"probabilities": self.probabilities(index % 3), "labels": labels, "index": index}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.fixture
def make_trainer(tmp_path: Path):
    def make(*callbacks: Callback, **arguments: Any) -> Trainer:
        settings: dict[str, Any] = {
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "max_epochs": 1,
            "default_root_dir": tmp_path,
        }
        return Trainer(callbacks=list(callbacks), **{**settings, **arguments})

    return make


@pytest.fixture
def tiny_data() -> type[TinyData]:
    return TinyData


@pytest.fixture
def tiny_classifier() -> type[TinyClassifier]:
    return TinyClassifier
