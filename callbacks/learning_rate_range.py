"""Learning-rate range test, drawn into lr-finder.png: the loss as the rate rises, and where it falls fastest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.plots.drawing import drawing
from callbacks.run.run_folder import RunFolder
from utils.contracts import ShowsTraining
from utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMOOTHING = 0.9
"""Weight of the previous mean in the smoothed loss."""

FEWEST = 10
"""Number of initial steps whose loss is not yet meaningful."""


class LearningRateRange(Callback):
    """Learning-rate range test (Smith 2017, arXiv:1506.01186, section 3.3), for a run with the schedule `RangeTest`.

    The schedule raises the rates of all parameter groups by the same factor, so it works with every optimizer. The run
    ends when the loss explodes or all steps are done; `lr-finder.png` in the run folder shows the loss, and the flags
    that set the rates at which it fell fastest are printed. `configs/sweeps/lr_range.yaml` sets up everything.

    Args:
        stop_at: Multiple of its lowest value at which the smoothed loss ends the run.
    """

    def __init__(self, stop_at: float = 4.0) -> None:
        self.stop_at = stop_at
        self.factors: list[float] = []
        self.losses: list[float] = []
        self._factor = math.nan
        self._batches = 0  # at the latest factor: several with gradient accumulation

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the test can run.

        Raises:
            ValueError: The run resumes another one, or the module does not show its loss.
        """
        if trainer.ckpt_path is not None:
            raise ValueError("a learning-rate range test cannot resume; start it again without --resume")
        if not isinstance(pl_module, ShowsTraining):
            raise ValueError(
                f"LearningRateRange needs the loss of each step: {type(pl_module).__name__} has no `latest`"
            )
        self.factors, self.losses = [], []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Record the factor on all rates.

        Raises:
            ValueError: All rates are 0.
        """
        group = max(trainer.optimizers[0].param_groups, key=lambda each: float(each["initial_lr"]))
        if not group["initial_lr"]:
            raise ValueError(
                "a learning-rate range test raises rates, and all are 0: pass --model.optimizer.lr above 0"
            )
        self._factor = float(group["lr"] / group["initial_lr"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the loss; end the run if it has exploded."""
        if not isinstance(pl_module, ShowsTraining):
            return
        latest = pl_module.latest
        shown = latest.get("train/loss", next(iter(latest.values())))  # bits per character are a loss too
        loss = float(trainer.strategy.reduce(shown, reduce_op="mean"))
        if math.isfinite(loss):
            self._note(loss)
        curve = smoothed(self.losses)
        exploded = len(curve) > FEWEST and curve[-1] > self.stop_at * min(curve)
        if exploded or not math.isfinite(loss):
            trainer.should_stop = True

    def _note(self, loss: float) -> None:
        """Record the loss of a batch, averaged over the batches that one optimizer step accumulates."""
        if not self.factors or self.factors[-1] != self._factor:
            self.factors.append(self._factor)
            self.losses.append(0.0)
            self._batches = 0
        self._batches += 1
        self.losses[-1] += (loss - self.losses[-1]) / self._batches

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curve, and print the suggestion."""
        if not trainer.is_global_zero or not self.losses:
            return
        rates = rates_in(next((each.config for each in _callbacks(trainer) if isinstance(each, RunFolder)), {}))
        factor = steepest(self.factors, self.losses)
        path = Path(trainer.default_root_dir) / "lr-finder.png"
        with atomic_path(path) as temporary, drawing():
            draw(self.factors, self.losses, factor, rates.get("lr")).savefig(temporary, dpi=110)
        print(f"{advice(factor, rates)}; {path}", flush=True)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the exponential moving averages of losses, corrected for the initial bias towards zero."""
    mean, means = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        means.append(mean / (1 - SMOOTHING**count))
    return means


def steepest(factors: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the factor at which the smoothed loss falls fastest per decade; None if it does not fall.

    Args:
        factors: Rising factors on the learning rates, [steps].
        losses: The loss at each of them, [steps].
    """
    curve = smoothed(losses)
    end = int(np.argmin(curve)) + 1 if curve else 0
    if end <= FEWEST + 1:
        return None
    slopes = np.gradient(np.asarray(curve[:end]), np.log(factors[:end]))[FEWEST:]
    place = int(np.argmin(slopes))
    return factors[FEWEST + place] if slopes[place] < 0 else None


def rates_in(config: Mapping[str, Any]) -> dict[str, float]:
    """Return the learning rates that a resolved config gives its optimizer, by name: `lr`, and any `..._lr`."""
    model = config.get("model") or {}
    optimizer = (model.get("init_args") or {}).get("optimizer") or {}
    return {
        name: float(value)
        for name, value in (optimizer.get("init_args") or {}).items()
        if (name == "lr" or name.endswith("_lr")) and isinstance(value, int | float)
    }


def advice(factor: float | None, rates: Mapping[str, float]) -> str:
    """Return what the test suggests, in one line."""
    if factor is None:
        return (
            "learning-rate range test: the loss does not fall; try other values of --model.schedule.lowest and .highest"
        )
    flags = " ".join(f"--model.optimizer.{name} {rate * factor:.3g}" for name, rate in rates.items())
    return (
        f"learning-rate range test: the loss falls fastest at {factor:.3g} times the configured rate: {flags}".rstrip(
            ": "
        )
    )


def draw(factors: Sequence[float], losses: Sequence[float], factor: float | None, rate: float | None) -> Figure:
    """Return the figure of the test: loss and smoothed loss over the learning rate or, if that is None, the factor."""
    from matplotlib.figure import Figure

    scale = rate or 1.0
    x = [scale * each for each in factors]
    curve = smoothed(losses)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(x, losses, color="tab:blue", alpha=0.3, linewidth=1.0, label="loss of each step")
    axes.plot(x, curve, color="tab:blue", linewidth=1.8, label="smoothed")
    if factor is not None:
        axes.axvline(scale * factor, color="tab:red", linestyle="--", label=f"falls fastest: {scale * factor:.3g}")
    axes.set_xscale("log")
    axes.set_ylim(top=max(curve) + 0.1 * (max(curve) - min(curve)) + 1e-9)
    axes.set_xlabel("learning rate (model.optimizer.lr)" if rate else "factor on the learning rates")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    return figure


def _callbacks(trainer: Trainer) -> list[Callback]:
    found: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return found
