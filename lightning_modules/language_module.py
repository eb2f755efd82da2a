"""Base class of the LightningModules for text: where the vocabulary comes from, and the course of an evaluation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lightning_modules.epoch_sums import EpochSums
from lightning_modules.training_module import TrainingModule
from utils.batches import GeneratedText
from utils.contracts import GeneratesText
from utils.distributed import gather_parts


class LanguageModule(TrainingModule, GeneratesText):
    """Base class of the LightningModules for text, whose ids are those of a tokenizer or of a string of characters.

    The module takes that vocabulary from the datamodule when training starts; afterwards it is in the checkpoint.
    In validation and test, a subclass adds to `eval_sums` (the same sums as in training) and to `generated`. With
    several processes, a batch may be empty.

    Args:
        **training: Arguments of `TrainingModule`.
    """

    def __init__(self, **training: Any):
        super().__init__(**training)
        self.generated: list[GeneratedText] = []
        self.signature: str | None = None
        self.eval_sums = EpochSums(*self.sums)

    # --- for subclasses ----------------------------------------------------------------------------------------

    @abstractmethod
    def has_vocabulary(self) -> bool:
        """Return whether the module knows what its ids mean."""

    @abstractmethod
    def take_vocabulary(self) -> None:
        """Take the tokenizer or vocabulary from the datamodule.

        Raises:
            ValueError: The datamodule has none, or the network is too small for it.
        """

    def score_generated(self) -> dict[str, float]:
        """Return scores, by name without stage, of the texts in `generated`, of which there is at least one.

        Only the first process has them and calls this.
        """
        return {}

    # --- before a stage ----------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Take the vocabulary before a fit."""
        if stage == "fit":
            self.take_vocabulary()

    def on_validation_start(self) -> None:
        """Forget the previous evaluation."""
        super().on_validation_start()
        self._begin_evaluation()

    def on_test_start(self) -> None:
        """Forget the previous evaluation."""
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

    # --- after an evaluation -----------------------------------------------------------------------------------

    def on_validation_epoch_end(self) -> None:
        """Log the validation's metrics."""
        self._end_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log the test's metrics."""
        self._end_evaluation("test")

    def _end_evaluation(self, stage: str) -> None:
        """Log means and scores; gather `generated` of all processes on the first one, in the data's order."""
        self._log_first_in_bar(self.mean_metrics(stage, self.eval_sums))
        parts = gather_parts(self.generated, everywhere=False)
        self.generated = sorted((text for part in parts for text in part), key=lambda text: text.index)
        scores = self.trainer.strategy.broadcast(self.score_generated() if self.generated else {})
        self._log_first_in_bar({f"{stage}/{name}": value for name, value in scores.items()})

    def _log_first_in_bar(self, metrics: dict[str, float]) -> None:
        """Log metrics, of which the progress bar shows the first."""
        for place, (name, value) in enumerate(metrics.items()):
            self.log(name, value, prog_bar=place == 0)
