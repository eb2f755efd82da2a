"""curves.png: the metrics of a run over its epochs."""

import csv
import math
from collections import defaultdict
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.plots.drawing import drawing
from callbacks.throttle import Throttle
from utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 12
FIRST_PANELS = ("loss", "accuracy", "learning rate")
COLOURS = {"train": "tab:blue", "val": "tab:orange"}

Line = tuple[list[float], list[float]]  # epochs done, values
Panels = dict[str, dict[str, Line]]


class Curves(Callback):
    """Curves of the metrics, drawn into `curves.png` in the run folder from its `metrics.csv`.

    A resumed run therefore shows its whole history. `<stage>/<name>` columns share a panel by name; learning rates have
    their own. The curves are drawn when an epoch begins (the one before is fully logged then) if enough time has
    passed, and always when the fit ends or is interrupted.

    Args:
        every_n_seconds: Minimum time between two drawings during a fit, in seconds.
    """

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        self._throttle = Throttle(every_n_seconds)
        self._trained = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this fit trains: one that fails before leaves the file as it was."""
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


def read_columns(metrics_csv: Path) -> dict[str, Line]:
    """Return the line of each metric in a `metrics.csv`.

    Several values within an epoch are spread evenly over it, so that the last one is at its end. Values that are not
    finite are left out.

    Args:
        metrics_csv: A file with columns `epoch`, `step` and metrics, with blanks where nothing was logged.
    """
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with metrics_csv.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            epoch = _number(row.get("epoch"))
            if epoch is None:
                continue
            for column, text in row.items():
                value = _number(text)
                if value is not None and column not in ("epoch", "step"):
                    values[column][int(epoch)].append(value)

    columns: dict[str, Line] = {}
    for column, by_epoch in values.items():
        line: Line = ([], [])
        for epoch, those in sorted(by_epoch.items()):
            line[0].extend(epoch + (place + 1) / len(those) for place in range(len(those)))
            line[1].extend(those)
        columns[column] = line
    return columns


def read_panels(metrics_csv: Path) -> Panels:
    """Return the lines of `read_columns` by panel and label.

    Tests are left out, and so is a metric's value per step if its value per epoch is there.

    Args:
        metrics_csv: A file as for `read_columns`.
    """
    columns = read_columns(metrics_csv)
    panels: Panels = defaultdict(dict)
    for column, line in columns.items():
        if column.startswith("test/") or _is_per_step(column, columns):
            continue
        panel, label = _panel_and_label(column)
        panels[panel][label] = line
    order = [name for name in FIRST_PANELS if name in panels] + [name for name in panels if name not in FIRST_PANELS]
    return {name: dict(sorted(panels[name].items())) for name in order[:MAX_PANELS]}


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
    if _spans_decades([value for _, values in lines.values() for value in values], name):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.set_title(name.replace("_", " "), parse_math=False)
    axes.set_xlabel("completed epochs")
    axes.grid(alpha=0.3)
    axes.legend(title="last value", fontsize=9, title_fontsize=8, framealpha=0.8)


def _spans_decades(values: list[float], name: str) -> bool:
    """Return whether a logarithmic axis shows more: the lowest fifth of the values is 20 times below the maximum.

    A cosine schedule is not. Fractions, such as accuracy, stay linear.
    """
    if min(values) <= 0 or max(values) < 20 * sorted(values)[len(values) // 5]:
        return False
    return name == "learning rate" or max(values) > 1


def _is_per_step(column: str, columns: Container[str]) -> bool:
    name = column.removesuffix("_step")
    return name != column and (name in columns or f"{name}_epoch" in columns)


def _panel_and_label(column: str) -> tuple[str, str]:
    name = column.removesuffix("_epoch").removesuffix("_step")
    if name == "lr" or name.startswith("lr-"):
        return "learning rate", name
    stage, slash, rest = name.partition("/")
    if stage == "grad_norm":  # one panel for all parts
        return "gradient norm", rest or "total"
    return (rest, stage) if slash else (name, name)


def _number(text: object) -> float | None:
    """Return the finite number in a cell; None for a blank, NaN and what a killed process left half-written."""
    if not isinstance(text, str):  # None in a row with too few cells, a list in one with too many
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
