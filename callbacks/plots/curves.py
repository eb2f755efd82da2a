"""curves.png: the metrics of a run over its epochs."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.plots.drawing import drawing
from callbacks.plots.metric_lines import Line, Panels, read_panels, spans_decades
from callbacks.throttle import Throttle
from utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"train": "tab:blue", "val": "tab:orange"}


class Curves(Callback):
    """Curves of the metrics, drawn into `curves.png` in the run folder from its `metrics.csv`.

    A resumed run therefore shows its whole history. `<stage>/<name>` columns share a panel by name; learning rates have
    their own. The curves are drawn when an epoch begins (by then the previous one is fully logged) if enough time has
    passed, and always when the fit ends or is interrupted.

    Args:
        every_n_seconds: Minimum time between two drawings during a fit, in seconds.
    """

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        self._throttle = Throttle(every_n_seconds)
        self._trained = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that training has begun: a fit that fails earlier leaves the file as it was."""
        self._trained = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the epochs done if a drawing is due."""
        if trainer.current_epoch > 0 and trainer.is_global_zero and self._throttle.due():
            self._draw(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw all epochs."""
        self._draw(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw what an interrupted fit has logged."""
        if trainer.state.fn == "fit" and self._trained:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        folder = Path(trainer.default_root_dir)
        if not trainer.is_global_zero or not (folder / "metrics.csv").is_file():
            return
        panels = read_panels(folder / "metrics.csv")
        if not panels:
            return
        with atomic_path(folder / "curves.png") as path, drawing():
            draw(panels, folder.name).savefig(path, dpi=110)


def draw(panels: Panels, title: str) -> "Figure":
    """Return the figure of the panels.

    Args:
        panels: What `read_panels` returns; at least one panel.
        title: The run's name.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(4.6 * columns, 5.5), 3.4 * rows + 0.4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    for place, (name, lines) in enumerate(panels.items()):
        _draw_panel(figure.add_subplot(rows, columns, place + 1), name, lines)
    return figure


def _draw_panel(axes: "Axes", name: str, lines: dict[str, Line]) -> None:
    from matplotlib.ticker import MaxNLocator

    for label, (epochs, values) in lines.items():
        axes.plot(
            epochs,
            values,
            color=COLOURS.get(label),
            label=f"{label}  {values[-1]:.4g}",
            linewidth=1.6,
            marker="o" if len(values) <= 30 else None,
            markersize=3.5,
        )
    if spans_decades([value for _, values in lines.values() for value in values], name):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.set_title(name.replace("_", " "), parse_math=False)
    axes.set_xlabel("completed epochs")
    axes.grid(alpha=0.3)
    axes.legend(title="last value", fontsize=9, title_fontsize=8, framealpha=0.8)
