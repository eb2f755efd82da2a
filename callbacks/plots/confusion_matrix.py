"""confusion_matrix.png: class confusions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from callbacks.plots.evaluation_files import Step
from callbacks.plots.evaluation_plot import EvaluationPlot
from callbacks.text_lines import class_name, shorten
from utils.batches import is_classified

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CLASSES_WITH_COUNTS = 20  # with more classes, the cells are too small to read a number in
MAX_TICKS = 50


class ConfusionMatrix(EvaluationPlot[Tensor]):
    """Confusion matrix of a validation or a test, drawn into `confusion_matrix.png` in the run folder.

    Rows are true classes, columns are predictions; colours are shares of the row, cells hold counts. The counts are
    sums over all processes. Steps must return `utils.batches.Classified`; other outputs are skipped.

    Args:
        every_n_seconds: Minimum time between two drawings during a fit, in seconds; the newest validation is always
            drawn at its end.
    """

    file_name = "confusion_matrix.png"

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        super().__init__(every_n_seconds)
        self._counts: Tensor | None = None

    def reset(self) -> None:
        """Forget the counts."""
        self._counts = None

    def add(self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, step: Step) -> None:
        """Add a batch to the counts."""
        if not is_classified(outputs):
            return
        probabilities, labels = outputs["probabilities"].detach(), outputs["labels"].detach()
        classes = probabilities.shape[1]
        # The check of the arguments would sort the labels of every batch, and refuse a single class
        counts = multiclass_confusion_matrix(probabilities.argmax(1), labels, classes, validate_args=False)
        self._counts = counts if self._counts is None else self._counts + counts

    def collect(self, trainer: Trainer) -> Tensor | None:
        """Return the sum of all processes' counts, [C, C]; None if there are none."""
        # A process without examples must take part, or the others would wait for it forever
        device = trainer.strategy.root_device
        size = torch.tensor(0 if self._counts is None else len(self._counts), device=device)
        classes = int(trainer.strategy.reduce(size, reduce_op="max"))
        if classes == 0:
            return None
        none = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        counts = none if self._counts is None else self._counts
        total = trainer.strategy.reduce(counts, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total.cpu()

    def figure(self, collected: Tensor, class_names: Sequence[str] | None, title: str) -> "Figure":
        """Return the figure of the counts."""
        return draw(collected, class_names, title)

    def data(self, collected: Tensor, class_names: Sequence[str] | None) -> dict[str, Any]:
        """Return the classes, and (true, predicted, count) where the count is not 0."""
        places = collected.nonzero()
        cells = torch.cat([places, collected[places[:, 0], places[:, 1], None]], 1)
        return {"classes": [class_name(class_names, index) for index in range(len(collected))], "cells": cells.tolist()}


def draw(counts: Tensor, class_names: Sequence[str] | None, title: str) -> "Figure":
    """Return the figure of a confusion matrix.

    Args:
        counts: How often each true class (row) was predicted as each class (column), [C, C].
        class_names: Names of the classes; if None, their indices.
        title: What was evaluated.
    """
    from matplotlib.figure import Figure

    classes = len(counts)
    rows = counts.sum(1, keepdim=True)
    shares = counts / rows.clamp(min=1)
    size = min(max(4.5, 2.2 + 0.6 * classes), 13.0)
    figure = Figure(figsize=(size, size * 0.95), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02, label="share of the true class")
    accuracy = float(counts.diagonal().sum() / counts.sum().clamp(min=1))
    axes.set_title(f"Confusion matrix ({title})\naccuracy {accuracy:.2%} on {int(counts.sum()):,} examples")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")

    step = -(-classes // MAX_TICKS)
    ticks = list(range(0, classes, step))
    labels = [shorten(class_name(class_names, index), 18) for index in ticks]
    font = 10 if classes <= MAX_CLASSES_WITH_COUNTS else 7
    axes.set_yticks(ticks, labels, fontsize=font, parse_math=False)  # a dollar sign is text here, not mathematics
    axes.set_xticks(ticks, labels, fontsize=font, parse_math=False)
    if max(map(len, labels)) > 2 and classes > 3:  # they would overlap side by side
        axes.tick_params(axis="x", labelrotation=90 if classes > MAX_CLASSES_WITH_COUNTS else 45)
        for label in axes.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor", verticalalignment="center")
    if classes <= MAX_CLASSES_WITH_COUNTS:
        _write_counts(axes, counts, shares)
    return figure


def _write_counts(axes: "Axes", counts: Tensor, shares: Tensor) -> None:
    font = 10 if int(counts.max()) < 10_000 else 8
    for row, column in torch.cartesian_prod(torch.arange(len(counts)), torch.arange(len(counts))).tolist():
        colour = "white" if shares[row, column] > 0.55 else "black" if counts[row, column] > 0 else "#b0b0b0"
        axes.text(column, row, str(int(counts[row, column])), ha="center", va="center", color=colour, fontsize=font)
