"""Data sets that torchvision downloads and verifies: CIFAR-100, MNIST, Fashion-MNIST and SVHN."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet, channel_statistics
from datamodules.trainer_state import stage_of
from utils.checks import check_int
from utils.downloads import impatient
from utils.error_text import text_of
from utils.lock import taking_turns

DIGITS = [str(digit) for digit in range(10)]
CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
SIZE = 32
"""Height and width of all images, in pixels; smaller ones get a black frame."""


class TorchvisionDataModule(ImageDataModule):
    """Base class of data sets of torchvision: 3x32x32, held in memory as uint8.

    Args:
        root: Folder of the data, into which missing files are downloaded.
        download: Whether to download missing files into `root`; their MD5 sums must be those of the originals.
        validation_size: Number of training images held out for validation, stratified; 0 disables validation.
        **options: Arguments of `ImageDataModule`.

    Raises:
        FileNotFoundError: The data are missing and cannot be downloaded, or may not be.
        ValueError: A number is out of range, or a file is damaged.
    """

    title: ClassVar[str]
    """Name of the data set."""

    library_class: ClassVar[str]
    """Name of its class in `torchvision.datasets`."""

    names: ClassVar[list[str]]
    """Names of the classes."""

    folder: ClassVar[str]
    """Where the downloaded files are, below `root`."""

    def __init__(self, root: str = "data", download: bool = True, validation_size: int = 5000, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.download = download
        self.validation_size = check_int("data.validation_size", validation_size)
        self.class_names = list(self.names)

    @abstractmethod
    def read_split(self, train: bool, download: bool) -> tuple[Any, Any]:
        """Return training or test images, uint8 [N, H, W] or [N, 3, H, W], and labels [N]; arrays or tensors.

        Args:
            train: Whether the training images are wanted.
            download: Whether to download them if they are missing.

        Raises:
            RuntimeError, OSError: They are missing or damaged, or cannot be downloaded.
        """

    @abstractmethod
    def addresses(self) -> list[str]:
        """Return where the files can be downloaded by hand."""

    @property
    def dataset(self) -> Any:
        """Class of the data set in torchvision, which takes seconds to import."""
        from torchvision import datasets

        return getattr(datasets, self.library_class)

    def prepare_data(self) -> None:
        """Download missing files, unless other images are to be predicted; jobs that begin together take turns."""
        if stage_of(self.trainer) == "predict" and self.predict_path is not None:
            return
        with taking_turns(self.root) if self.download else nullcontext():
            for train in (True, False):
                self._read(train, self.download)

    def load_training(self) -> tuple[ImageSet, ImageSet | None]:
        """Return the training images without those held out for validation, and the latter; set `mean` and `std`."""
        images = self._read(train=True)
        train, val = images.hold_out_validation(self.validation_size, seed=self.split_seed)
        self.mean, self.std = channel_statistics(train.images)
        return train, val

    def load_test(self) -> ImageSet:
        """Return the test images."""
        return self._read(train=False)

    def test_path(self) -> str:
        """Return the folder of the data."""
        return str(self.root / self.folder)

    def _read(self, train: bool, download: bool = False) -> ImageSet:
        try:
            with impatient():
                images, labels = self.read_split(train, download)
        except (RuntimeError, OSError) as error:
            reason = text_of(error)
            raise FileNotFoundError(
                f"{self.title} cannot be read from {self.root / self.folder} or downloaded ({reason}): download "
                f"{', '.join(self.addresses())} into {self.root / self.folder}, or point --data.root at another folder"
            ) from error
        except Exception as error:  # of a file that ends early, for example; each format has errors of its own
            raise ValueError(
                f"a file of {self.title} in {self.root / self.folder} is damaged ({type(error).__name__}): remove what "
                "is there, and have it downloaded and unpacked again"
            ) from error
        pixels = torch.from_numpy(np.ascontiguousarray(images))
        if pixels.ndim == 3:  # grey
            pixels = pixels[:, None].expand(-1, 3, -1, -1)
        frame = (SIZE - pixels.shape[-1]) // 2
        return ImageSet(
            F.pad(pixels, (frame,) * 4).contiguous(), torch.as_tensor(labels).long(), source=self.test_path()
        )


class CIFAR100DataModule(TorchvisionDataModule):
    """CIFAR-100: 50,000 training and 10,000 test images of 100 classes, 3x32x32 (Krizhevsky 2009).

    Args:
        **options: Arguments of `TorchvisionDataModule`.
    """

    title = "CIFAR-100"
    library_class = "CIFAR100"
    folder = ""
    names: ClassVar[list[str]] = CIFAR100_NAMES.split()

    def read_split(self, train: bool, download: bool) -> tuple[Any, Any]:
        """Return images and fine labels; the pickles are read only if they are the originals, byte by byte."""
        data = self.dataset(self.root, train=train, download=download)
        return data.data.transpose(0, 3, 1, 2), data.targets

    def addresses(self) -> list[str]:
        """Return the address of the archive."""
        return [self.dataset.url]


class MNISTDataModule(TorchvisionDataModule):
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28 in a frame of 2 (LeCun et al. 1998).

    Args:
        **options: Arguments of `TorchvisionDataModule`.
    """

    title = "MNIST"
    library_class = "MNIST"
    folder = "MNIST/raw"
    names: ClassVar[list[str]] = DIGITS

    def read_split(self, train: bool, download: bool) -> tuple[Any, Any]:
        """Return images and labels."""
        data = self.dataset(self.root, train=train, download=download)
        return data.data, data.targets

    def addresses(self) -> list[str]:
        """Return the addresses of the four files."""
        return [f"{self.dataset.mirrors[0]}{name}" for name, _ in self.dataset.resources]


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28 in a frame of 2 (Xiao et al. 2017).

    Args:
        **options: Arguments of `TorchvisionDataModule`.
    """

    title = "Fashion-MNIST"
    library_class = "FashionMNIST"
    folder = "FashionMNIST/raw"
    names: ClassVar[list[str]] = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]


class SVHNDataModule(TorchvisionDataModule):
    """SVHN: 73,257 training and 26,032 test images of house numbers, 3x32x32, labelled by a digit (Netzer et al. 2011).

    Args:
        **options: Arguments of `TorchvisionDataModule`.
    """

    title = "SVHN"
    library_class = "SVHN"
    folder = "svhn"
    names: ClassVar[list[str]] = DIGITS

    def read_split(self, train: bool, download: bool) -> tuple[Any, Any]:
        """Return images and labels."""
        data = self.dataset(self.root / self.folder, split="train" if train else "test", download=download)
        return data.data, data.labels

    def addresses(self) -> list[str]:
        """Return the addresses of both files."""
        return [self.dataset.split_list[split][0] for split in ("train", "test")]
