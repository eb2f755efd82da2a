"""reliability.json: the calibration of a classifier, that is how often predictions of each confidence are correct."""

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.plots.evaluation_files import EvaluationFiles, Step
from callbacks.plots.evaluation_plot import write_data
from utils.batches import is_classified
from utils.confidence_bins import BINS, FIXED_POINT, confidence_bins


class Reliability(EvaluationFiles[Tensor]):
    """Bins of confidence of a validation or a test, in `reliability.json` in the run folder, for the report.

    Each bin that is not empty has the number of `examples`, how many of them were predicted `correct`ly, and the mean
    `confidence`. Steps must return `utils.batches.Classified`; other outputs are skipped.

    Args:
        every_n_seconds: Minimum time between two validations that are written during a fit, in seconds.
    """

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        super().__init__(every_n_seconds)
        self._sums: Tensor | None = None  # int64 [3, bins + 1]

    def reset(self) -> None:
        """Forget the sums."""
        self._sums = None

    def add(self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, step: Step) -> None:
        """Add a batch to the sums."""
        if is_classified(outputs):
            sums = torch.stack(confidence_bins(outputs["probabilities"].detach().float(), outputs["labels"]))
            self._sums = sums if self._sums is None else self._sums + sums

    def collect(self, trainer: Trainer) -> Tensor | None:
        """Return the sums over all processes, [3, bins + 1]; None if there are none."""
        # A process without examples must take part, or the others would wait for it forever
        none = torch.zeros(3, BINS + 1, dtype=torch.int64, device=trainer.strategy.root_device)
        total = trainer.strategy.reduce(none if self._sums is None else self._sums, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total.cpu() if total[0].any() else None

    def write(self, folder: Path, collected: Tensor, class_names: Sequence[str] | None, title: str) -> None:
        """Write the bins that have examples."""
        bins = [
            {"examples": examples, "correct": correct, "confidence": round(confidence / FIXED_POINT / examples, 6)}
            for examples, correct, confidence in collected.t().tolist()
            if examples
        ]
        write_data(folder / "reliability.json", title, {"bins": bins})
