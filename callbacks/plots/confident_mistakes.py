"""mistakes.png: the images the model got wrong while being surest."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from callbacks.plots.evaluation_plot import EvaluationPlot
from callbacks.text_lines import class_name, shorten
from utils.batches import is_classified

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Mistakes(NamedTuple):
    """Mistakes, surest first; a confidence below 0 marks an empty place."""

    confidence: Tensor  # [K] probability given to the wrong class
    predicted: Tensor  # [K]
    labels: Tensor  # [K]
    images: Tensor  # [K, 3, H, W] uint8


class ConfidentMistakes(EvaluationPlot):
    """Draws `mistakes.png` in the run folder after validation and after a test: image, true → predicted, probability.

    Only the `count` surest are kept in memory. Each process keeps its own and the first one draws its own: with several
    GPUs the grid shows the surest mistakes among the first GPU's share of the examples. The step must return
    `probabilities` [B, C], `labels` [B] and `images` uint8 [B, 3, H, W]; other outputs are passed over.

    Args:
        count: How many mistakes the grid shows at most.
        every_n_seconds: The least time between two drawings during a fit; the newest is always drawn at its end.
    """

    file_name = "mistakes.png"

    def __init__(self, count: int = 25, every_n_seconds: float = 20.0) -> None:
        if count < 1:
            raise ValueError(f"count must be >= 1, got {count}")
        super().__init__(every_n_seconds)
        self.count = count
        self.reset()

    def reset(self) -> None:
        self._surest: Mistakes | None = None

    def add(self, trainer: Trainer, outputs: Any) -> None:
        if not trainer.is_global_zero or not is_classified(outputs) or "images" not in outputs:
            return
        probabilities, labels = outputs["probabilities"].detach(), outputs["labels"].detach()
        self._surest = surest_mistakes(self._surest, probabilities, labels, outputs["images"], self.count)

    def collect(self, trainer: Trainer) -> Mistakes | None:
        surest, self._surest = self._surest, None
        return None if surest is None else Mistakes(*(part.cpu() for part in surest))

    def figure(self, collected: Mistakes, class_names: Sequence[str] | None, title: str) -> "Figure":
        return draw(collected, class_names, title)


def surest_mistakes(
    kept: Mistakes | None, probabilities: Tensor, labels: Tensor, images: Tensor, count: int
) -> Mistakes:
    """The `count` surest mistakes among those kept and those of a batch, on the batch's device, without a device sync.

    Args:
        kept: Those of earlier batches.
        probabilities: [B, C].
        labels: True classes, [B].
        images: [B, 3, H, W].
        count: How many to keep.
    """
    confidence, predicted = probabilities.float().max(1)
    confidence = torch.where(predicted == labels, -1.0, confidence)
    best = confidence.topk(min(count, len(confidence))).indices  # copy few images, not the whole batch
    merged = Mistakes(confidence[best], predicted[best], labels[best], images[best])
    if kept is not None:
        merged = Mistakes(*(torch.cat(pair) for pair in zip(kept, merged, strict=True)))
    best = merged.confidence.topk(min(count, len(merged.confidence))).indices
    return Mistakes(*(part[best] for part in merged))


def draw(mistakes: Mistakes, class_names: Sequence[str] | None, title: str) -> "Figure":
    """The figure of a grid of mistakes, surest first.

    Args:
        mistakes: What to show, on the CPU.
        class_names: Names of the classes; their indices where None.
        title: What the mistakes were made on.
    """
    from matplotlib.figure import Figure

    number = int((mistakes.confidence >= 0).sum())
    columns = max(1, math.ceil(math.sqrt(number)))
    rows = max(1, math.ceil(number / columns))
    figure = Figure(figsize=(max(1.75 * columns, 4.5), 2.05 * rows + 0.5), layout="constrained")
    figure.suptitle(f"Most confident mistakes ({title})" if number else f"No mistakes ({title})")
    for place in range(number):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(mistakes.images[place].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_axis_off()
        true, predicted = (
            shorten(class_name(class_names, int(which[place])), 14) for which in (mistakes.labels, mistakes.predicted)
        )
        axes.set_title(f"{true} →\n{predicted}  {float(mistakes.confidence[place]):.1%}", fontsize=9)
    return figure
