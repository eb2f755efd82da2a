"""confusion_matrix.png: which class is taken for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from callbacks.plots.evaluation_plot import EvaluationPlot
from callbacks.text_lines import class_name, shorten
from utils.batches import is_classified

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES_WITH_TEXT = 20  # above it the cells are too small to read a number in
MOST_TICKS = 50


class ConfusionMatrix(EvaluationPlot):
    """Draws `confusion_matrix.png` in the run folder after validation and after a test.

    Rows are true classes, columns predictions; colours are shares of the row, cells hold counts. The counts are sums
    over all processes. The step must return `probabilities` [B, C] and `labels` [B]; other outputs are passed over.

    Args:
        every_n_seconds: The least time between two drawings during a fit; the newest is always drawn at its end.
    """

    file_name = "confusion_matrix.png"

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        super().__init__(every_n_seconds)
        self.reset()

    def reset(self) -> None:
        self._counts: Tensor | None = None

    def add(self, trainer: Trainer, outputs: Any) -> None:
        if not is_classified(outputs):
            return
        probabilities, labels = outputs["probabilities"].detach(), outputs["labels"].detach()
        classes = probabilities.shape[1]
        # The arguments' check would sort the labels of every batch and refuse one class
        counts = multiclass_confusion_matrix(probabilities.argmax(1), labels, classes, validate_args=False)
        self._counts = counts if self._counts is None else self._counts + counts

    def collect(self, trainer: Trainer) -> Tensor | None:
        counts, self._counts = self._counts, None
        # A process that was given no example takes part all the same: the others would wait for it for ever
        device = trainer.strategy.root_device
        size = torch.tensor(0 if counts is None else len(counts), device=device)
        classes = int(trainer.strategy.reduce(size, reduce_op="max"))
        if classes == 0:
            return None
        if counts is None:
            counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        total = trainer.strategy.reduce(counts, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total.cpu()

    def figure(self, collected: Tensor, class_names: Sequence[str] | None, title: str) -> "Figure":
        return draw(collected, class_names, title)


def draw(counts: Tensor, class_names: Sequence[str] | None, title: str) -> "Figure":
    """The figure of a confusion matrix.

    Args:
        counts: How often true class (row) was predicted as class (column), [C, C].
        class_names: Names of the classes; their indices where None.
        title: What the counts were taken from.
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
    correct = float(counts.diagonal().sum() / counts.sum().clamp(min=1))
    axes.set_title(f"Confusion matrix ({title})\n{correct:.2%} of {int(counts.sum()):,} right")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")

    step = -(-classes // MOST_TICKS)
    ticks = list(range(0, classes, step))
    labels = [shorten(class_name(class_names, index), 18) for index in ticks]
    font = 10 if classes <= MOST_CLASSES_WITH_TEXT else 7
    axes.set_yticks(ticks, labels, fontsize=font)
    upright = max(map(len, labels)) > 2 and classes > 3
    axes.set_xticks(ticks, labels, fontsize=font)
    if upright:
        axes.tick_params(axis="x", labelrotation=90 if classes > MOST_CLASSES_WITH_TEXT else 45)
        for label in axes.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor", verticalalignment="center")
    if classes <= MOST_CLASSES_WITH_TEXT:
        _write_counts(axes, counts, shares)
    return figure


def _write_counts(axes: Any, counts: Tensor, shares: Tensor) -> None:
    widest = len(str(int(counts.max())))
    font = 10 if widest <= 4 else 8
    for row, column in torch.cartesian_prod(torch.arange(len(counts)), torch.arange(len(counts))).tolist():
        colour = "white" if shares[row, column] > 0.55 else "black" if counts[row, column] > 0 else "#b0b0b0"
        axes.text(column, row, str(int(counts[row, column])), ha="center", va="center", color=colour, fontsize=font)
