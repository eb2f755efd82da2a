"""What the LightningModules for text share: the hand-over of the vocabulary, and the frame of an evaluation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lightning_modules.epoch_sums import EpochSums
from lightning_modules.training_module import TrainingModule
from utils.batches import GeneratedText
from utils.contracts import GeneratesText
from utils.distributed import gather_list


class LanguageModule(TrainingModule, GeneratesText):
    """Base class of the text modules, whose ids are those of a tokenizer or places in a vocabulary.

    The module takes it from the datamodule when training starts; afterwards it travels in the checkpoint. A subclass
    adds to `eval_sums` in validation and test, and to `generated` whatever the model generates there.

    Args:
        **training: Arguments of `TrainingModule`.
    """

    def __init__(self, **training: Any):
        super().__init__(**training)
        self.generated: list[GeneratedText] = []
        self.signature: str | None = None
        self.eval_sums = EpochSums(*self.sums)

    @abstractmethod
    def has_vocabulary(self) -> bool:
        """Return whether the module knows what its ids mean."""

    @abstractmethod
    def take_vocabulary(self) -> None:
        """Take the tokenizer or vocabulary from the datamodule.

        Raises:
            ValueError: The datamodule has none, or the network is too small for it.
        """

    def setup(self, stage: str) -> None:
        """Take the vocabulary before a fit."""
        if stage == "fit":
            self.take_vocabulary()

    def on_validation_start(self) -> None:
        """Begin an evaluation."""
        self._begin_evaluation()

    def on_test_start(self) -> None:
        """Begin an evaluation."""
        self._begin_evaluation()

    def on_predict_start(self) -> None:
        """Make sure that there is a vocabulary."""
        self._require_vocabulary()

    def _begin_evaluation(self) -> None:
        self._require_vocabulary()
        self.generated = []
        self.eval_sums.reset()

    def _require_vocabulary(self) -> None:
        if not self.has_vocabulary():
            self.take_vocabulary()

    def gather_generated(self) -> None:
        """Replace `generated` by that of all processes, in the data's order; every process must call this."""
        self.generated = sorted(gather_list(self.generated), key=lambda text: text.index)
