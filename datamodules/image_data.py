"""What the image datamodules share.

uint8 images in memory, whole batches cut out of them, augmentation on the device.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from datamodules.augmentation import Augmentation
from datamodules.image_files import decode_images, find_images
from datamodules.samplers import (
    BatchLoader,
    evaluation_batches,
    planned_epochs,
    rank_and_world,
    require_one_each,
    training_batches,
    training_position,
)
from datamodules.seeding import torch_generator


class ImageSet(NamedTuple):
    """Images uint8 [N, 3, H, W], labels int64 [N] (-1 where unknown), and a name for each (None: its number)."""

    images: Tensor
    labels: Tensor
    names: list[str] | None = None

    def select(self, positions: Tensor) -> ImageSet:
        """The examples at these positions (int64)."""
        names = None if self.names is None else [self.names[position] for position in positions.tolist()]
        return ImageSet(take(self.images, positions), self.labels[positions], names)


class TrainBatch(NamedTuple):
    """A training batch on its way to the device; augmentation turns it into (images, labels).

    images uint8 [B, 3, H, W], labels int64 [B], positions int64 [B] in the training set, the epoch, and the number
    of the batch within the epoch.
    """

    images: Tensor
    labels: Tensor
    positions: Tensor
    epoch: int
    step: int


def stratified_split(labels: Tensor, size: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Set `size` examples apart, each class in its proportion (largest remainders first), chosen at random by `seed`.

    Args:
        labels: int64 [N].
        size: How many to set apart, 0 <= size < N.
        seed: The same seed sets the same examples apart.

    Returns:
        (positions kept, positions set apart), both int64 and ascending.
    """
    total = len(labels)
    counts = torch.bincount(labels)
    shares = counts * size  # in units of 1/total: integers, so that the remainders are exact
    quotas = shares // total
    remainders = shares % total
    quotas[remainders.argsort(descending=True, stable=True)[: size - int(quotas.sum())]] += 1
    generator = torch_generator(seed)
    apart = torch.zeros(total, dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        members = (labels == label).nonzero().flatten()
        apart[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~apart).nonzero().flatten(), apart.nonzero().flatten()


def channel_statistics(
    images: Tensor,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel over all pixels of uint8 images [N, 3, H, W] scaled to [0, 1]."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(3):
        counts = torch.zeros(256, dtype=torch.float64)
        for chunk in images[:, channel].split(4096):
            counts += torch.bincount(chunk.flatten(), minlength=256)
        shares = counts / counts.sum()
        mean = (shares * values).sum()
        means.append(mean.item())
        # A channel that is the same everywhere would divide by zero.
        stds.append(max((shares * (values - mean) ** 2).sum().sqrt().item(), 1 / 255))
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


class ImageDataModule(LightningDataModule):
    """Base of the image datamodules. A subclass says where the images come from (`load_training`, `load_test`).

    Attributes:
        class_names: One name a class; None until known.
        mean, std: Per channel, of images scaled to [0, 1]; None until the training images are loaded, unless constants.
        input_size: Height and width of the images.
        predict_names: The name of each example of the predict loader: its path, or its number.
        predict_classes: The classes that the labels of the predict loader count; None: `class_names`.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        eval_batch_size: int,
        augmentation: Augmentation,
        seed: int,
        split_seed: int,
        predict_path: str | None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("seed", seed, 0),
            ("split_seed", split_seed, 0),
        ):
            if value < least:
                raise ValueError(f"data.{name} is {value}: it must be at least {least}")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.augmentation = augmentation
        self.seed = seed
        self.split_seed = split_seed
        self.predict_path = predict_path
        self.class_names: list[str] | None = None
        self.mean: tuple[float, float, float] | None = None
        self.std: tuple[float, float, float] | None = None
        self.input_size = 32
        self.predict_names: list[str] = []
        self.predict_classes: list[str] | None = None
        self._training: tuple[ImageSet, ImageSet | None] | None = None
        self._test: ImageSet | None = None

    @abstractmethod
    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        """The training and the validation images (None: no validation)."""

    @abstractmethod
    def load_test(self) -> ImageSet:
        """The test images."""

    @property
    def train_set(self) -> ImageSet:
        """The training images, loaded on first use."""
        return self._training_sets()[0]

    @property
    def val_set(self) -> ImageSet | None:
        """The validation images, loaded on first use; None where there are none."""
        return self._training_sets()[1]

    @property
    def test_set(self) -> ImageSet:
        """The test images, loaded on first use."""
        if self._test is None:
            self._test = self.load_test()
        return self._test

    def _training_sets(self) -> tuple[ImageSet, ImageSet | None]:
        if self._training is None:
            self._training = self.load_training()
        return self._training

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._training_sets()

    def train_dataloader(self) -> BatchLoader[TrainBatch]:
        train = self.train_set
        rank, world = rank_and_world(self.trainer)

        def plan(epoch: int) -> list[Tensor]:
            return training_batches(
                len(train.images),
                self.batch_size,
                seed=self.seed,
                epoch=epoch,
                rank=rank,
                world=world,
            )

        def fetch(index: Tensor, epoch: int, step: int) -> TrainBatch:
            return TrainBatch(take(train.images, index), train.labels[index], index, epoch, step)

        return BatchLoader(plan, fetch, lambda: training_position(self.trainer))

    def val_dataloader(self) -> BatchLoader[tuple[Tensor, Tensor]] | list[Any]:
        return self._evaluation_loader(self.val_set, "validation") if self.val_set is not None else []

    def test_dataloader(self) -> BatchLoader[tuple[Tensor, Tensor]]:
        return self._evaluation_loader(self.test_set, "test")

    def predict_dataloader(self) -> BatchLoader[tuple[Tensor, Tensor, Tensor]]:
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a single image, say: one process has nothing
        examples = self.load_predict()
        self.predict_names = examples.names or [str(number) for number in range(len(examples.images))]

        def fetch(index: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
            return take(examples.images, index), examples.labels[index], index

        return BatchLoader(self._evaluation_plan(examples), fetch)

    def load_predict(self) -> ImageSet:
        """The images to predict: those of `predict_path`, else the test images.

        An image below a folder named like a class has that label. Class names and size are the model's where it
        knows them.

        Raises:
            FileNotFoundError: `predict_path` does not exist.
            ValueError: it holds no images, or one that cannot be decoded.
        """
        if self.predict_path is None:
            self.predict_classes = None
            return self.test_set
        path = Path(self.predict_path)
        if not path.exists():
            raise FileNotFoundError(f"data.predict_path {path} does not exist: name an image or a folder of images")
        files = [path] if path.is_file() else find_images(path)
        classes = self.model_attribute("class_names") or self.class_names or []
        self.predict_classes = list(classes)
        labels = torch.tensor([_folder_label(file.relative_to(path).parts[:-1], classes) for file in files])
        return ImageSet(decode_images(files, self.prediction_size()), labels, [str(file) for file in files])

    def prediction_size(self) -> int:
        """The size the model eats, else this data's own."""
        return self.model_attribute("input_size") or self.input_size

    def model_attribute(self, name: str) -> Any:
        """An attribute of the trainer's LightningModule; None where there is none."""
        return getattr(self.trainer.lightning_module, name, None) if self.trainer is not None else None

    def _evaluation_plan(self, examples: ImageSet) -> Any:
        rank, world = rank_and_world(self.trainer)
        return lambda epoch: evaluation_batches(len(examples.images), self.eval_batch_size, rank=rank, world=world)

    def _evaluation_loader(self, examples: ImageSet, part: str) -> BatchLoader[tuple[Tensor, Tensor]]:
        require_one_each(part, len(examples.images), rank_and_world(self.trainer)[1])

        def fetch(index: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
            return take(examples.images, index), examples.labels[index]

        return BatchLoader(self._evaluation_plan(examples), fetch)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment a training batch; other batches pass as they are."""
        return self.augment(batch) if isinstance(batch, TrainBatch) else batch

    def augment(self, batch: TrainBatch) -> tuple[Tensor, Tensor]:
        """(images, labels) of a training batch after augmentation: a pure function of (seed, epoch, step, rank)."""
        rank, _ = rank_and_world(self.trainer)
        return self.augmentation(
            batch.images,
            batch.labels,
            batch.positions,
            key=(self.seed, batch.epoch, batch.step, rank),
            num_classes=len(self.class_names or []),
            fill=self.mean or (0.5, 0.5, 0.5),
            progress=batch.epoch / planned_epochs(self.trainer),
        )


def take(images: Tensor, index: Tensor) -> Tensor:
    """images[index] for images [N, ...]: one run of bytes a row, many times faster on a CPU than indexing pixels."""
    return images.flatten(1).index_select(0, index).view(-1, *images.shape[1:])


def _folder_label(folders: tuple[str, ...], classes: list[str]) -> int:
    """The number of the class the innermost folder is named after, of those that are; -1 where none is."""
    return next((classes.index(folder) for folder in reversed(folders) if folder in classes), -1)
