"""What plots of validations and tests share: when they are drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.throttle import Throttle
from utils.contracts import class_names_of
from utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NewestPlot(Callback):
    """Draws what the newest validation or test gave into one file of the run folder.

    Validation within a fit redraws the file at most every so often; the newest is always drawn when the fit ends or
    breaks.

    Args:
        every_n_seconds: The least time between two drawings during a fit.
    """

    file_name: str

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        self._throttle = Throttle(every_n_seconds)
        self._newest: tuple[Any, str] | None = None  # what to draw (None: nothing), and its title

    def figure(self, collected: Any, class_names: Sequence[str] | None, title: str) -> "Figure":
        """The drawing of what the newest validation or test gave."""
        raise NotImplementedError

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._draw(trainer, pl_module)

    def _draw_validation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, within a fit only where it is time."""
        if trainer.state.fn != "fit" or self._throttle.due():
            self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the newest, unless it is drawn already."""
        newest, self._newest = self._newest, None
        if newest is None or newest[0] is None or not trainer.is_global_zero:
            return
        figure = self.figure(newest[0], class_names_of(pl_module), newest[1])
        with atomic_path(Path(trainer.default_root_dir) / self.file_name) as path:
            figure.savefig(path, dpi=110)


def validation_title(trainer: Trainer) -> str:
    """What a validation is called: within a fit, by its epoch."""
    return f"validation, epoch {trainer.current_epoch + 1}" if trainer.state.fn == "fit" else "validation"
