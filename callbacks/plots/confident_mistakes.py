"""mistakes.png: the most confident errors."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.plots.evaluation_files import Step
from callbacks.plots.evaluation_plot import EvaluationPlot
from callbacks.plots.heat_maps import HeatMaps, heat_maps, overlay
from callbacks.plots.pictures import png
from callbacks.text_lines import class_name, shorten
from utils.batches import is_classified
from utils.checks import check_positive_int
from utils.distributed import gather_parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Mistakes(NamedTuple):
    """Errors of a classifier, most confident first.

    Attributes:
        confidence: Probability given to the wrong class, [K]; below 0 where there is no error.
        predicted: Predicted classes, [K].
        labels: True classes, [K].
        images: uint8 [K, 3, H, W].
        places: Order of the examples in the evaluation, int64 [K]: of equally confident errors, the earlier come first.
    """

    confidence: Tensor
    predicted: Tensor
    labels: Tensor
    images: Tensor
    places: Tensor


class ShownMistakes(NamedTuple):
    """Errors to draw and write, with their heat maps.

    Attributes:
        mistakes: The errors.
        heat: Heat maps of the errors, of the predicted and of the true class; None if there are none.
        no_heat: Why an evaluation outside of a fit has no heat maps.
    """

    mistakes: Mistakes
    heat: HeatMaps | None = None
    no_heat: str | None = None


class ConfidentMistakes(EvaluationPlot[ShownMistakes]):
    """Most confident errors of a validation or a test, drawn into `mistakes.png` in the run folder.

    Each error shows the image, true → predicted class, and the probability of the latter; in a fit, it is calibrated by
    the validation before. Only the `count` most confident errors are kept in memory. Steps must return
    `utils.batches.Classified` with `images`; other outputs are skipped.

    A test, or a validation outside of a fit, also computes heat maps (Grad-CAM) for the report: which parts of the
    image support the predicted class, and which the true one. They need the extra `report`.

    Args:
        count: Maximum number of errors in the grid.
        every_n_seconds: Minimum time between two drawings during a fit, in seconds; the newest validation is always
            drawn at its end.
        heat_maps: Whether to compute heat maps, for which each error shown passes through the network twice.
    """

    file_name = "mistakes.png"

    def __init__(self, count: int = 25, every_n_seconds: float = 20.0, heat_maps: bool = True) -> None:
        super().__init__(every_n_seconds)
        self.count = check_positive_int("count", count)
        self.heat_maps = heat_maps
        self._kept: Mistakes | None = None

    def reset(self) -> None:
        """Forget the errors."""
        self._kept = None

    def add(self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, step: Step) -> None:
        """Keep a batch's errors if they are among the most confident."""
        if not is_classified(outputs) or "images" not in outputs:
            return
        probabilities, labels = outputs["probabilities"].detach(), outputs["labels"].detach()
        new = errors_of(probabilities, labels, outputs["images"], step.number)
        self._kept = most_confident([new] if self._kept is None else [self._kept, new], self.count)

    def collect(self, trainer: Trainer) -> ShownMistakes | None:
        """Return the errors that all processes kept, on the CPU; None if no step had outputs of a classifier."""
        mine = None if self._kept is None else Mistakes(*(part.cpu() for part in self._kept))
        kept = [each for each in gather_parts(mine, everywhere=False) if each is not None]
        return self._explain(trainer, most_confident(kept, self.count)) if kept else None

    def _explain(self, trainer: Trainer, mistakes: Mistakes) -> ShownMistakes:
        """Add heat maps, which never make an evaluation fail, on the first process and with the weights it used."""
        number = _number(mistakes)
        if not number or trainer.state.fn == "fit":
            return ShownMistakes(mistakes)
        if not self.heat_maps:
            return ShownMistakes(mistakes, no_heat="ConfidentMistakes has heat_maps: false")
        classes = torch.stack([mistakes.predicted, mistakes.labels], 1)[:number]
        try:
            heat = heat_maps(trainer, trainer.lightning_module, mistakes.images[:number], classes)
        except ValueError as error:  # what a user can fix, such as a missing extra
            return ShownMistakes(mistakes, no_heat=str(error))
        except Exception as error:  # such as too little memory, or a module that maps no images to logits
            return ShownMistakes(mistakes, no_heat=" ".join(f"{type(error).__name__}: {error}".split()))
        return ShownMistakes(mistakes, heat)

    def figure(self, collected: ShownMistakes, class_names: Sequence[str] | None, title: str) -> "Figure":
        """Return the figure of the errors."""
        return draw(collected.mistakes, class_names, title)

    def data(self, collected: ShownMistakes, class_names: Sequence[str] | None) -> dict[str, Any]:
        """Return classes, confidence, image and heat maps (PNG in base64) of each error, and the stage of the maps."""
        mistakes, heat, no_heat = collected
        rows = [
            {
                "true": class_name(class_names, int(mistakes.labels[place])),
                "predicted": class_name(class_names, int(mistakes.predicted[place])),
                "confidence": round(float(mistakes.confidence[place]), 4),
                "image": png(mistakes.images[place]),
                **({} if heat is None else {"heat": _overlays(heat, place)}),
            }
            for place in range(_number(mistakes))
        ]
        return {"mistakes": rows, "heat_stage": heat.stage if heat else None, "no_heat": no_heat}


def _number(mistakes: Mistakes) -> int:
    """Return how many of them are errors."""
    return int((mistakes.confidence >= 0).sum())


def _overlays(heat: HeatMaps, place: int) -> dict[str, str]:
    """Return the heat maps of one error, by class."""
    return {name: png(overlay(each)) for name, each in zip(("predicted", "true"), heat.maps[place], strict=True)}


def errors_of(probabilities: Tensor, labels: Tensor, images: Tensor, number: int) -> Mistakes:
    """Return the errors of a batch, in the order of the batch; correct answers have a confidence below 0.

    They stay on the batch's device, and nothing waits for the device.

    Args:
        probabilities: [B, C].
        labels: True classes, [B].
        images: uint8 [B, 3, H, W].
        number: Number of the batch in the evaluation.
    """
    confidence, predicted = probabilities.float().max(1)
    confidence = torch.where(predicted == labels, -1.0, confidence.nan_to_num(0.0))
    places = (number << 32) + torch.arange(len(labels), device=labels.device)
    return Mistakes(confidence, predicted, labels, images, places)


def most_confident(parts: Sequence[Mistakes], count: int) -> Mistakes:
    """Return the most confident errors of several parts, at most `count`; the order of the parts does not matter."""
    few = [_first(part, count) for part in parts]  # copy few images, not the whole batch
    return _first(Mistakes(*map(torch.cat, zip(*few, strict=True))), count)


def _first(mistakes: Mistakes, count: int) -> Mistakes:
    """Return the `count` most confident errors, and of equally confident ones those that come first in the data."""
    order = mistakes.places.argsort()
    order = order[mistakes.confidence[order].argsort(descending=True, stable=True)][:count]
    return Mistakes(*(part[order] for part in mistakes))


def draw(mistakes: Mistakes, class_names: Sequence[str] | None, title: str) -> "Figure":
    """Return the figure of a grid of errors, most confident first.

    Args:
        mistakes: What to show, on the CPU.
        class_names: Names of the classes; if None, their indices.
        title: What was evaluated.
    """
    from matplotlib.figure import Figure

    number = _number(mistakes)
    columns = max(1, math.ceil(math.sqrt(number)))
    rows = max(1, math.ceil(number / columns))
    figure = Figure(figsize=(max(1.75 * columns, 4.5), 2.05 * rows + 0.5), layout="constrained")
    figure.suptitle(f"Most confident errors ({title})" if number else f"No errors ({title})")
    for place in range(number):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(mistakes.images[place].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_axis_off()
        true, predicted = (
            shorten(class_name(class_names, int(which[place])), 14) for which in (mistakes.labels, mistakes.predicted)
        )
        text = f"{true} →\n{predicted}  {float(mistakes.confidence[place]):.1%}"
        axes.set_title(text, fontsize=9, parse_math=False)  # a dollar sign is text here, not mathematics
    return figure
