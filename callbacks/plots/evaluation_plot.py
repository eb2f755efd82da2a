"""Base class of the plots of a validation or a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.plots.drawing import drawing
from callbacks.throttle import Throttle
from utils.contracts import class_names_of
from utils.distributed import number_among_all
from utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Collected = TypeVar("Collected")


class Step(NamedTuple):
    """One step of an evaluation.

    Attributes:
        number: Number of its batch among those of all processes.
        last: Whether it is this process's last one (of each dataloader, if there are several).
    """

    number: int
    last: bool


class EvaluationPlot(Callback, Generic[Collected]):
    """Base class of plots that collect from each batch of a validation or a test and draw one file of the run folder.

    A validation within a fit redraws the file only if enough time has passed; the newest one is always drawn when the
    fit ends or is interrupted. The sanity check is skipped.

    Args:
        every_n_seconds: Minimum time between two drawings during a fit, in seconds.
    """

    file_name: str

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        self._throttle = Throttle(every_n_seconds)
        self._newest: tuple[Collected | None, str] | None = None  # what is not drawn yet, and its title

    # --- for subclasses ----------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget what was collected: an evaluation begins."""
        raise NotImplementedError

    def add(self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, step: Step) -> None:
        """Collect from one step of this process.

        Args:
            trainer: The trainer.
            pl_module: The module, with the weights that the evaluation uses.
            outputs: What the step returned.
            batch: What the step was given.
            step: Which step it was.
        """
        raise NotImplementedError

    def collect(self, trainer: Trainer) -> Collected | None:
        """Return what to draw, None for nothing; called on every process."""
        raise NotImplementedError

    def figure(self, collected: Collected, class_names: Sequence[str] | None, title: str) -> "Figure":
        """Return the figure of what was collected; called on the first process."""
        raise NotImplementedError

    # --- when to collect ---------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to collect."""
        self.reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect, except in the sanity check."""
        if not trainer.sanity_checking:
            step = Step(number_among_all(trainer, batch_idx), batch_idx + 1 == trainer.num_val_batches[dataloader_idx])
            self.add(trainer, pl_module, outputs, batch, step)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, within a fit only if a drawing is due."""
        if trainer.sanity_checking:
            return
        within_fit = trainer.state.fn == "fit"
        title = f"validation, epoch {trainer.current_epoch + 1}" if within_fit else "validation"
        self._newest = (self.collect(trainer), title)
        if not within_fit or self._throttle.due():
            self._draw(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to collect."""
        self.reset()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect."""
        step = Step(number_among_all(trainer, batch_idx), batch_idx + 1 == trainer.num_test_batches[dataloader_idx])
        self.add(trainer, pl_module, outputs, batch, step)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        self._newest = (self.collect(trainer), "test")
        self._draw(trainer, pl_module)

    # --- drawing -----------------------------------------------------------------------------------------------

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the newest validation unless it is drawn already."""
        self._draw(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the newest validation unless it is drawn already."""
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        newest, self._newest = self._newest, None
        if newest is None or newest[0] is None or not trainer.is_global_zero:
            return
        with atomic_path(Path(trainer.default_root_dir) / self.file_name) as path, drawing():
            self.figure(newest[0], class_names_of(pl_module), newest[1]).savefig(path, dpi=110)
