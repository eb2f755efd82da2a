"""Protocols that LightningModules and datamodules keep for each other and for the callbacks that observe them.

Our classes have the protocols they keep as base classes, so that a renamed field fails loudly: in the type checker, or
where it is read. Your own module keeps one by having its attributes. A callback does nothing with a module that lacks
what it needs.

Python 3.11 evaluates every property of a protocol in `isinstance`. A property that reads files is therefore in a
separate protocol, which is tested for only where those files are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn

from utils.batches import GeneratedText

if TYPE_CHECKING:
    from tokenizers import Tokenizer


# --- of LightningModules -------------------------------------------------------------------------------------------


class HasNetwork(Protocol):
    """A module around a network.

    Not for `isinstance`, which from Python 3.12 on does not see submodules: ask `network_of`.
    """

    architecture: nn.Module


@runtime_checkable
class HasUnit(Protocol):
    """A module that names the unit of its examples, such as "images"."""

    unit: str


@runtime_checkable
class ShowsTraining(Protocol):
    """A module that keeps figures of its last training batch, by name, for progress bars and trackers.

    At each step, Lightning's `log` would take as long as some twenty operators, for what is read every few seconds.
    """

    latest: dict[str, Tensor]


@runtime_checkable
class NamesValidationMetrics(Protocol):
    """A module that says what it logs in validation."""

    def validation_metrics(self) -> list[str]:
        """Return the names that validation logs, of which `checkpoint.monitor` must be one."""
        ...


CLASS_ACCURACY = "class_accuracy/"
"""Prefix under which a class's accuracy is logged, between the stage and the class's name; no other metric has it."""


@runtime_checkable
class NamesTrainingMetrics(Protocol):
    """A module, or a callback, that says what it logs in training."""

    def training_metrics(self) -> list[str]:
        """Return the names that each epoch of training logs, which a callback's `monitor` may be as well."""
        ...


@runtime_checkable
class ClassifiesImages(Protocol):
    """A module that knows its classes and the size of its images; both are None before training."""

    class_names: list[str] | None
    input_size: int | None


@runtime_checkable
class CompletesConfig(Protocol):
    """A class of modules that fills the open fields of a new run's config before anything is built."""

    @classmethod
    def complete(
        cls, config: dict[str, Any], given: Collection[str], class_names: Callable[[], list[str] | None]
    ) -> dict[str, Any]:
        """Return values for fields of a config, by their dotted paths in it, such as `data.init_args.tokenizer`.

        Args:
            config: The whole config, plain values.
            given: Fields that the user has set, as on the command line, such as `model.architecture.num_classes`.
            class_names: Returns the names of the data's classes; None if they are not known.

        Raises:
            FileNotFoundError, ValueError: What the values come from is missing or unusable.
        """
        ...


@runtime_checkable
class GeneratesText(Protocol):
    """A module that generates text in validation or test.

    Attributes:
        generated: What the last validation or test generated. From its end on, the first process has the texts of all
            processes, in the data's order.
        signature: How the texts were scored; None where they were not.
    """

    generated: list[GeneratedText]
    signature: str | None


@runtime_checkable
class UsesTokenizer(Protocol):
    """A module whose ids are those of a tokenizer; None before training."""

    tokenizer: Tokenizer | None


@runtime_checkable
class LimitsLength(Protocol):
    """A module that generates texts of at most `max_length` tokens, the end included."""

    max_length: int


@runtime_checkable
class GeneratesSeveral(Protocol):
    """A module that predicts `num_return_sequences` texts for each source."""

    num_return_sequences: int


@runtime_checkable
class UsesVocabulary(Protocol):
    """A module whose ids are places in a string of characters; None before training."""

    vocabulary: str | None


@runtime_checkable
class HasTestSettings(Protocol):
    """A module whose test figures depend on more than weights and data."""

    def test_settings(self) -> dict[str, str | float]:
        """Return the settings by name, such as the number of beams."""
        ...


# --- of datamodules ------------------------------------------------------------------------------------------------


@runtime_checkable
class ProvidesImages(Protocol):
    """A datamodule of images.

    Attributes:
        class_names: One name per class; None until known.
        mean, std: Mean and standard deviation per channel of images scaled to [0, 1]; None until known.
        input_size: Height and width of the images in pixels.
    """

    class_names: list[str] | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    input_size: int


@runtime_checkable
class NamesClasses(Protocol):
    """A datamodule that can name its classes before it reads any example."""

    def find_class_names(self) -> list[str] | None:
        """Return the names of the classes; None if they are not known before the examples are."""
        ...


@runtime_checkable
class PredictsImages(Protocol):
    """A datamodule that reads images in `predict`.

    Attributes:
        predict_path: The image or folder that `predict` reads; None for the test images.
        predict_names: Name of each predicted example: its path or its number.
        predict_classes: Names of the classes that the labels of predicted examples stand for; None if those are
            `class_names`.
        predict_errors: Why an example of this process cannot be read and has no prediction, by its place in
            `predict_names`; known when its batch has been asked for.
    """

    predict_path: str | None
    predict_names: list[str]
    predict_classes: list[str] | None
    predict_errors: dict[int, str]


@runtime_checkable
class ReadsImageFiles(Protocol):
    """A datamodule that resizes the files that `predict` reads."""

    def prediction_size(self) -> int:
        """Return the height and width in pixels at which they are read."""
        ...


@runtime_checkable
class ResizesImages(Protocol):
    """A datamodule whose training images have several sizes."""

    @property
    def training_sizes(self) -> list[int]:
        """Their heights and widths in pixels; none if all have the size of the images."""
        ...


class ImageExamples(Protocol):
    """Images in memory."""

    @property
    def images(self) -> Tensor:
        """The images, uint8 [N, 3, H, W]."""
        ...


@runtime_checkable
class ProvidesTrainingImages(Protocol):
    """A datamodule with all training images in memory.

    A protocol by itself because `isinstance` reads every attribute (up to Python 3.11, properties included): asking
    for this one loads the images.
    """

    @property
    def train_set(self) -> ImageExamples:
        """The training images, loaded on first use."""
        ...


class DataSource(NamedTuple):
    """The data that figures were measured on.

    Attributes:
        path: Where the examples come from, as the user gave it, or what they are.
        digest: SHA-256 of all examples as they were read.
        examples: Number of examples; None where a batch does not consist of examples.
    """

    path: str
    digest: str
    examples: int | None


@runtime_checkable
class DescribesTestData(Protocol):
    """A datamodule that says what its test examples are."""

    def test_source(self) -> DataSource:
        """Return where the test examples come from, and their digest; they are loaded if they are not yet."""
        ...


@runtime_checkable
class ProvidesTokens(Protocol):
    """A datamodule whose batches hold the ids of a tokenizer."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        ...


@runtime_checkable
class ProvidesCharacters(Protocol):
    """A datamodule whose ids are places in a string of characters."""

    @property
    def vocabulary(self) -> str:
        """Every character once."""
        ...


@runtime_checkable
class IdentifiesTrainingData(Protocol):
    """A datamodule that can tell whether its examples are those that a checkpoint was trained on."""

    def training_data(self) -> dict[str, int]:
        """Return the number of training and of validation examples, and a checksum of them."""
        ...


@runtime_checkable
class PredictsLines(Protocol):
    """A datamodule that reads a text file in `predict`; `predict_count` is the number of its lines."""

    predict_count: int


def datamodule_of(trainer: Trainer | None) -> LightningDataModule | None:
    """Return the datamodule that a trainer works with; None without one."""
    datamodule: LightningDataModule | None = getattr(trainer, "datamodule", None)  # set once data is attached
    return datamodule


def class_names_of(module: nn.Module) -> list[str] | None:
    """Return the names of a module's classes; None if it has none or knows none."""
    return module.class_names if isinstance(module, ClassifiesImages) else None


def network_of(module: nn.Module) -> nn.Module:
    """Return the network of a module, or the module itself if it has none."""
    network = getattr(module, "architecture", None)
    return network if isinstance(network, nn.Module) else module
