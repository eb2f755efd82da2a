"""A network of one convolution, and random images of all classes."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from architectures.base import ImageClassifierNet
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.schedules import Constant
from utils.contracts import ImageExamples, ProvidesImages, ProvidesTrainingImages

SIZE = 8


class TinyNet(ImageClassifierNet):
    head = "fc"

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * (SIZE - 2) ** 2, num_classes)
        self.initial_images: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(images)).relu().flatten(1))

    def initialize_from_data(self, images: Tensor) -> None:
        self.initial_images = images


class Data(LightningDataModule, ProvidesImages, ProvidesTrainingImages):
    """Random images of all classes in memory."""

    mean, std, input_size = (0.2, 0.4, 0.6), (0.1, 0.2, 0.3), SIZE

    def __init__(self, classes: int = 10, count: int = 60, batch_size: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        self.images = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        self.labels = torch.randint(0, classes, (count,), generator=generator)
        self.labels[:classes] = torch.arange(classes)
        self.class_names = [f"class{k}" for k in range(classes)]
        self.batch_size = batch_size

    @property
    def train_set(self) -> ImageExamples:
        return self

    def train_dataloader(self) -> DataLoader:
        pairs: Any = list(zip(self.images, self.labels, strict=True))
        return DataLoader(pairs, batch_size=self.batch_size)

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self) -> DataLoader:
        triples: Any = list(zip(self.images, self.labels, torch.arange(len(self.images)), strict=True))
        return DataLoader(triples, batch_size=self.batch_size)


def classifier(num_classes: int = 10, **arguments: Any) -> ImageClassifier:
    torch.manual_seed(0)
    net = TinyNet(num_classes)
    nn.init.normal_(net.fc.weight, std=0.1)
    arguments.setdefault("optimizer", lambda groups: torch.optim.SGD(groups, lr=0.1))
    arguments.setdefault("schedule", Constant)
    return ImageClassifier(net, **arguments)


def by_hand(model: ImageClassifier, images: Tensor, mean: Any = 0.5, std: Any = 0.5) -> Tensor:
    """Probabilities, with the images normalised one after the other."""
    net = model.architecture.eval()
    one_by_one = []
    for image in images:
        pixels = image.permute(1, 2, 0).numpy() / 255
        one_by_one.append(torch.from_numpy((pixels - np.array(mean)) / np.array(std)).permute(2, 0, 1).float())
    with torch.no_grad():
        return net(torch.stack(one_by_one)).softmax(1)
