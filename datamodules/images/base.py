"""Base class of the image datamodules: images in memory, batches indexed from them, augmentation on the device.

For training on a GPU, the training images are kept in its memory if they take no more than a quarter of what is free
there, and a batch is then a few of their rows. All other batches are copied to it ahead of time
(`datamodules/copied_ahead.py`). `datamodules/digits.py` is the shortest datamodule, and the one to copy for your own
data set. No other file needs to change: a config finds the class by its name.
"""

from __future__ import annotations

import math
import unicodedata
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules.images.augmentation import Augmentation
from datamodules.images.image_set import ImageSet, near, split_line, take
from datamodules.images.order import left_out, training_batches
from datamodules.images.prediction_input import find_prediction_files
from datamodules.loader import (
    BatchLoader,
    EvaluationSplit,
    evaluation_loader,
    evaluation_order,
    require_examples,
    training_position,
)
from datamodules.trainer_state import device_of, model_of, planned_epochs
from utils.batches import ImageBatch, ImagePredictionBatch, RawImageBatch
from utils.checks import check_int, check_positive_int
from utils.contracts import (
    ClassifiesImages,
    DataSource,
    DescribesTestData,
    IdentifiesTrainingData,
    NamesClasses,
    PredictsImages,
    ProvidesImages,
    ProvidesTrainingImages,
    ReadsImageFiles,
    ResizesImages,
)
from utils.devices import send
from utils.digests import digest_of
from utils.distributed import rank_and_world_size
from utils.file_names import readable
from utils.resume_position import checksum


class ImageDataModule(
    LightningDataModule,
    ProvidesImages,
    PredictsImages,
    ReadsImageFiles,
    ProvidesTrainingImages,
    ResizesImages,
    NamesClasses,
    IdentifiesTrainingData,
    DescribesTestData,
):
    """Base class of the image datamodules.

    A subclass sets `class_names`, `mean` and `std` and loads the images (`load_training`, `load_test`). The attributes
    are those of `ProvidesImages` and `PredictsImages` in `utils.contracts`.

    Args:
        batch_size: Training batch size in images, per process. An incomplete last batch of an epoch is dropped, which a
            fit reports; which images are left out differs from epoch to epoch.
        eval_batch_size: Batch size in validation, test and prediction, per process.
        augmentation: Augmentation of the training batches; off by default.
        seed: Seed of the order of the images and of their augmentation.
        split_seed: Seed of the splits, separate from `seed` so that runs with different seeds are scored on the same
            images.
        predict_path: An image, or a folder of images, to predict; if null, the test set. Images that cannot be read
            have no prediction, and the file of predictions says why.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
        seed: int = 0,
        split_seed: int = 0,
        predict_path: str | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = check_positive_int("data.batch_size", batch_size)
        self.eval_batch_size = check_positive_int("data.eval_batch_size", eval_batch_size)
        self.augmentation = augmentation
        self.seed = check_int("data.seed", seed)
        self.split_seed = check_int("data.split_seed", split_seed)
        self.predict_path = predict_path
        self.class_names: list[str] | None = None
        self.mean: tuple[float, float, float] | None = None
        self.std: tuple[float, float, float] | None = None
        self.input_size = 32
        self.predict_names: list[str] = []
        self.predict_classes: list[str] | None = None
        self.predict_errors: dict[int, str] = {}
        self._training: tuple[ImageSet, ImageSet | None] | None = None
        self._test: ImageSet | None = None

    @abstractmethod
    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        """Return the training images and the validation images (None if there are none)."""

    @abstractmethod
    def load_test(self) -> ImageSet:
        """Return the test images."""

    @property
    def train_set(self) -> ImageSet:
        """The training images, loaded on first use."""
        return self._training_sets()[0]

    @property
    def val_set(self) -> ImageSet | None:
        """The validation images, loaded on first use; None if there are none."""
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

    def test_path(self) -> str:
        """Return where the test images come from."""
        return type(self).__name__

    def test_source(self) -> DataSource:
        """Return where the test images come from, and the digest of pixels, labels and class names."""
        images, labels = self.test_set.images, self.test_set.labels
        content = [each.contiguous().numpy().data.cast("B") for each in (images, labels)]
        digest = digest_of([str(tuple(images.shape)), *(self.class_names or []), *content])
        return DataSource(self.test_path(), digest, len(images))

    def find_class_names(self) -> list[str] | None:
        """Return the names of the classes before any image is read; None if they are not known by then."""
        return self.class_names

    def setup(self, stage: str) -> None:
        """Load the training images before a fit, and report the splits and what each epoch leaves out.

        Raises:
            ValueError: As `_check_augmentation`.
        """
        if stage == "fit":
            train, _ = self._training_sets()
            self._check_augmentation()
            for line in self.split_lines():
                rank_zero_info(line)
            _, world_size = rank_and_world_size(self.trainer)
            if number := left_out(len(train.images), self.batch_size, world_size):
                rank_zero_info(
                    f"each epoch leaves out {number:,} of these images, different ones each time: they do not fill a "
                    f"batch (data.batch_size {self.batch_size})"
                )

    @property
    def training_sizes(self) -> list[int]:
        """Heights and widths in pixels to which training images are resized."""
        return [size for _, size in self.augmentation.progressive_sizes or []]

    def _check_augmentation(self) -> None:
        """Refuse augmentation that cannot work on these images.

        Raises:
            ValueError: Image sizes are to grow with the share of epochs done, but the run has no end, or they are
                larger than the images; or labels are to be blended, but nobody knows how many classes there are.
        """
        if self.training_sizes and self.trainer and math.isinf(planned_epochs(self.trainer)):
            raise ValueError(
                "data.augmentation.progressive_sizes must know the length of the run: set trainer.max_epochs or "
                "trainer.max_steps"
            )
        if max(self.training_sizes, default=0) > self.input_size:
            raise ValueError(
                f"data.augmentation.progressive_sizes must be at most the size of the images, {self.input_size}, got "
                f"{max(self.training_sizes)}"
            )
        if self.augmentation.mixes and not self.class_names:
            raise ValueError(
                f"data.augmentation blends labels (mixup_alpha or cutmix_alpha), but {type(self).__name__} has no "
                "class_names, by which their number is known: set them"
            )

    def split_lines(self) -> list[str]:
        """Return one line per split of a fit: where it is from, number of images and classes."""
        train, val = self._training_sets()
        return [
            split_line("training", train.source, train.labels),
            "validation: none" if val is None else split_line("validation", val.source, val.labels),
        ]

    def training_data(self) -> dict[str, int]:
        """Return the sizes of training and validation set, and a checksum of classes, labels and file names."""
        train, val = self._training_sets()
        sets = [train] if val is None else [train, val]
        parts = [each.labels.numpy().tobytes() for each in sets]
        parts += [unicodedata.normalize("NFC", Path(name).name).encode() for each in sets for name in each.names or []]
        return {
            "training examples": len(train.images),
            "validation examples": 0 if val is None else len(val.images),
            "checksum": checksum([*map(str.encode, self.class_names or []), *parts]),
        }

    # --- loaders -----------------------------------------------------------------------------------------------

    def train_dataloader(self) -> BatchLoader[RawImageBatch]:
        """Return the loader of this process's training batches."""
        device = device_of(self.trainer)
        train = near(self.train_set, device)
        rank, world_size = rank_and_world_size(self.trainer)

        @lru_cache(maxsize=1)
        def plan(epoch: int) -> tuple[Tensor, Tensor]:  # on the CPU and where the images are, both [steps, B]
            order = training_batches(
                len(train.images), self.batch_size, seed=self.seed, epoch=epoch, rank=rank, world_size=world_size
            )
            return order, send(order, train.images.device)

        def fetch(index: Tensor, epoch: int, step: int) -> RawImageBatch:
            there = plan(epoch)[1][step]
            return RawImageBatch(
                take(train.images, there), train.labels.index_select(0, there), index.numpy(), epoch, step
            )

        return BatchLoader(
            lambda epoch: plan(epoch)[0].unbind(), fetch, lambda: training_position(self.trainer), device
        )

    def val_dataloader(self) -> BatchLoader[ImageBatch] | list[Any]:
        """Return the loader of this process's validation batches; an empty list if there are none."""
        return self._evaluation_loader(self.val_set, "val") if self.val_set is not None else []

    def test_dataloader(self) -> BatchLoader[ImageBatch]:
        """Return the loader of this process's test batches."""
        return self._evaluation_loader(self.test_set, "test")

    def predict_dataloader(self) -> BatchLoader[ImagePredictionBatch]:
        """Return the loader of this process's images to predict."""
        self.predict_errors = {}
        fetch = self._test_images_to_predict() if self.predict_path is None else self._files_to_predict()
        places = torch.arange(len(self.predict_names))
        return evaluation_loader(places.split(self.eval_batch_size), fetch, self.trainer)

    def _evaluation_loader(self, examples: ImageSet, split: EvaluationSplit) -> BatchLoader[ImageBatch]:
        size = len(examples.images)
        require_examples(split, size)

        def fetch(places: Tensor) -> ImageBatch:
            return ImageBatch(take(examples.images, places), examples.labels[places])

        order = evaluation_order(size, split, self.trainer)
        return evaluation_loader(order.split(self.eval_batch_size), fetch, self.trainer)

    # --- augmentation ------------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment a training batch on its device; leave other batches unchanged."""
        return self.augment(batch) if isinstance(batch, RawImageBatch) else batch

    def augment(self, batch: RawImageBatch) -> ImageBatch:
        """Return a training batch after augmentation, a pure function of the batch, the seed and the rank."""
        rank, _ = rank_and_world_size(self.trainer)
        return ImageBatch(
            *self.augmentation(
                batch.images,
                batch.labels,
                torch.from_numpy(batch.positions),
                key=(self.seed, batch.epoch, batch.step, rank),
                num_classes=len(self.class_names or []),
                fill=self.mean or (0.5, 0.5, 0.5),
                progress=batch.epoch / planned_epochs(self.trainer),
            )
        )

    # --- prediction --------------------------------------------------------------------------------------------

    def _test_images_to_predict(self) -> Callable[[Tensor], ImagePredictionBatch]:
        """Return what makes a batch of the test images at some places."""
        examples = self.test_set
        self.predict_classes = None
        self.predict_names = examples.names or [str(number) for number in range(len(examples.images))]
        return lambda places: ImagePredictionBatch(take(examples.images, places), examples.labels[places], places)

    def _files_to_predict(self) -> Callable[[Tensor], ImagePredictionBatch]:
        """Return what makes a batch of the images in `predict_path` at some places.

        An image below a folder named after a class has that class as its label. Class names and image size are the
        model's if it knows them. An image that cannot be decoded is left out, and `predict_errors` says why.

        Raises:
            FileNotFoundError: `predict_path` does not exist.
            ValueError: It holds no images, or none that can be decoded.
        """
        assert self.predict_path is not None
        self.predict_classes = list(self.model_class_names() or self.class_names or [])
        files = find_prediction_files(Path(self.predict_path), self.predict_classes, self.prediction_size())
        self.predict_names = list(map(readable, files.paths))

        def fetch(places: Tensor) -> ImagePredictionBatch:
            images, intact, errors = files.read(places)
            self.predict_errors.update(errors)
            return ImagePredictionBatch(images, files.labels[intact], intact)

        return fetch

    def prediction_size(self) -> int:
        """Return the image size that the model was trained on, else the size of these images."""
        return self.model_input_size() or self.input_size

    def model_class_names(self) -> list[str] | None:
        """Return the class names of the trainer's model; None if it knows none."""
        model = self._model()
        return model.class_names if model is not None else None

    def model_input_size(self) -> int | None:
        """Return the image size of the trainer's model; None if it knows none."""
        model = self._model()
        return model.input_size if model is not None else None

    def _model(self) -> ClassifiesImages | None:
        model = model_of(self.trainer)
        return model if isinstance(model, ClassifiesImages) else None
