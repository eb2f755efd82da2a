"""The same examples as one batch, as accumulated batches, and as batches of two processes: the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.base import ImageClassifierNet
from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet
from datamodules.images.order import training_batches
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.schedules import Constant
from tests.close import assert_close
from tests.lightning_modules.helpers import quiet_trainer
from tests.lightning_modules.text_fakes import Data, loader, network, seq2seq, sgd

RATE = 0.5


class Linear(ImageClassifierNet):
    """One layer, without anything that depends on which images share a batch."""

    head = "fc"

    def __init__(self) -> None:
        super().__init__(3)
        torch.manual_seed(0)
        self.fc = nn.Linear(3 * 8 * 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1))


class Pictures(ImageDataModule):
    """Random images, and a validation set of one of them."""

    def __init__(self, count: int, batch_size: int = 1) -> None:
        super().__init__(batch_size=batch_size, seed=3)
        self.count = count
        self.class_names, self.mean, self.std = ["a", "b", "c"], (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (self.count, 3, 8, 8), dtype=torch.uint8, generator=generator)
        examples = ImageSet(images, torch.randint(0, 3, (self.count,), generator=generator))
        return examples, examples.select(torch.tensor([0]))

    def load_test(self) -> ImageSet:
        return self.load_training()[0]


def train(folder: Path, model: LightningModule, data: Any, processes: int, accumulated: int) -> dict[str, Tensor]:
    """Return the weights after an epoch, validated as well."""
    trainer = quiet_trainer(
        folder,
        devices=processes,
        strategy="ddp_fork" if processes > 1 else "auto",
        accumulate_grad_batches=accumulated,
    )
    trainer.fit(model, datamodule=data)
    return {name: value.clone() for name, value in model.state_dict().items()}


# --- images --------------------------------------------------------------------------------------------------------


def train_images(
    folder: Path, count: int, batch_size: int, accumulated: int = 1, processes: int = 1
) -> dict[str, Tensor]:
    model = ImageClassifier(Linear(), optimizer=sgd(RATE), schedule=Constant)
    return train(folder, model, Pictures(count, batch_size), processes, accumulated)


def images_by_hand(count: int) -> dict[str, Tensor]:
    """Plain gradient descent on the mean over eight images at a time, in double precision; the rest is one step."""
    data, net = Pictures(count), Linear().double()
    images = (data.train_set.images.double() / 255 - 0.5) / 0.25
    order = training_batches(count, 1, seed=3, epoch=0, rank=0, world_size=1).flatten()
    for group in order.split(8):
        net.zero_grad()
        F.cross_entropy(net(images[group]), data.train_set.labels[group]).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                assert parameter.grad is not None
                parameter.sub_(parameter.grad, alpha=RATE)
    return {f"architecture.{name}": value.float() for name, value in net.state_dict().items()}


def compare(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        assert_close(ours[name], value, what=name)


@pytest.mark.parametrize(("batch_size", "accumulated"), [(8, 1), (2, 4), (1, 8)])
def test_34191_accumulated_images_have_the_gradients_of_one_batch(tmp_path, batch_size, accumulated):
    compare(train_images(tmp_path, 16, batch_size, accumulated), images_by_hand(16))


def test_24725_the_last_step_of_an_epoch_has_the_mean_over_its_own_images(tmp_path):
    """Of six batches in groups of four, the last two."""
    compare(train_images(tmp_path, 12, 2, 4), images_by_hand(12))


# --- several processes ---------------------------------------------------------------------------------------------


class RankData(Data):
    """Gives process r batch r, with the number of tokens of both, and validates on one example."""

    def train_dataloader(self) -> Any:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        everything = self.tokens(torch.arange(len(self.pairs)))
        return loader([self.places[rank]], lambda places: self.batch(places, everything))


def train_text(folder: Path, data: Data, processes: int = 1) -> dict[str, Tensor]:
    model = seq2seq(network(), optimizer=sgd(RATE), label_smoothing=0.1, validation_examples=1)
    return train(folder, model, data, processes, len(data.places) if processes == 1 else 1)


def train_in_two_processes(folder: Path) -> None:
    """Run in a process of its own: one that has computed gradients cannot be forked."""
    torch.save(train_images(folder, 16, 4, processes=2), folder / "images.pt")
    torch.save(train_images(folder, 12, 2, 2, processes=2), folder / "short.pt")
    torch.save(train_text(folder, RankData(sizes=[3, 5]), processes=2), folder / "text.pt")


@pytest.mark.slow
def test_24725_two_processes_have_the_gradients_of_one(tmp_path):
    """Images, with a last step of two batches of four; texts of unequal numbers of tokens.

    Each training is validated, on fewer examples than processes.
    """
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.lightning_modules.test_accumulation", str(tmp_path)]
    subprocess.run(command, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=300)
    found = {name: torch.load(tmp_path / f"{name}.pt") for name in ("images", "short", "text")}
    compare(found["images"], images_by_hand(16))
    compare(found["short"], images_by_hand(12))
    data = Data(sizes=[3, 5])
    assert len({data.tokens(places) / len(places) for places in data.places}) == 2
    for sizes in ([8], [3, 5], [1, 1, 1, 1, 1, 1, 2]):
        compare(found["text"], train_text(tmp_path, Data(sizes=sizes)))


if __name__ == "__main__":
    train_in_two_processes(Path(sys.argv[1]))
