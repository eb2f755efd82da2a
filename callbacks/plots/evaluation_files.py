"""Base class of callbacks that write files about a validation or a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.throttle import Throttle
from utils.contracts import class_names_of
from utils.distributed import number_among_all

Collected = TypeVar("Collected")


class Step(NamedTuple):
    """One step of an evaluation.

    Attributes:
        number: Number of its batch among those of all processes.
        last: Whether it is this process's last one (of each dataloader, if there are several).
    """

    number: int
    last: bool


class EvaluationFiles(Callback, Generic[Collected]):
    """Base class of callbacks that collect from each batch of a validation or a test and write into the run folder.

    A validation within a fit is written only if enough time has passed; the newest one is always written when the fit
    ends or is interrupted. The sanity check is skipped.

    Args:
        every_n_seconds: Minimum time between two validations that are written during a fit, in seconds.
    """

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        self._throttle = Throttle(every_n_seconds)
        self._newest: tuple[Collected | None, str] | None = None  # what is not written yet, and its title

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
        """Return what to write, or None to write nothing; called on every process."""
        raise NotImplementedError

    def write(self, folder: Path, collected: Collected, class_names: Sequence[str] | None, title: str) -> None:
        """Write what was collected; called on the first process.

        Args:
            folder: The run folder.
            collected: What `collect` returned.
            class_names: Names of the classes, if the module has any.
            title: What was evaluated.
        """
        raise NotImplementedError

    # --- when to collect ---------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start collecting."""
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
        """Write what was collected; within a fit, only if it is due."""
        if trainer.sanity_checking:
            return
        within_fit = trainer.state.fn == "fit"
        title = f"validation, epoch {trainer.current_epoch + 1}" if within_fit else "validation"
        self._newest = (self.collect(trainer), title)
        if not within_fit or self._throttle.due():
            self._write(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start collecting."""
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
        """Write."""
        self._newest = (self.collect(trainer), "test")
        self._write(trainer, pl_module)

    # --- writing -----------------------------------------------------------------------------------------------

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the newest validation unless it is written already."""
        self._write(trainer, pl_module, at_end=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the newest validation unless it is written already."""
        self._write(trainer, pl_module, at_end=True)

    def _write(self, trainer: Trainer, pl_module: LightningModule, at_end: bool = False) -> None:
        newest, self._newest = self._newest, None
        folder = Path(trainer.default_root_dir)
        if newest is None or newest[0] is None or not trainer.is_global_zero or (at_end and not folder.is_dir()):
            return
        self.write(folder, newest[0], class_names_of(pl_module), newest[1])
