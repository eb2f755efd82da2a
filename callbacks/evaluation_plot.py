"""What plots of an evaluation's outputs share: when they collect, and when they draw."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.files import Throttle, atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EvaluationPlot(Callback):
    """Collects a validation's or a test's outputs and draws them into one file of the run folder.

    Validation within a fit redraws the file at most every so often; the newest is always drawn when the fit ends or
    breaks. The sanity check is passed over.

    Args:
        every_n_seconds: The least time between two drawings during a fit.
    """

    file_name: str

    def __init__(self, every_n_seconds: float = 20.0) -> None:
        self._throttle = Throttle(every_n_seconds)
        self._newest: tuple[Any, str] | None = None

    def reset(self) -> None:
        """Forget what was collected: an evaluation begins."""
        raise NotImplementedError

    def add(self, trainer: Trainer, outputs: Any) -> None:
        """Collect from one step's outputs."""
        raise NotImplementedError

    def collect(self, trainer: Trainer) -> Any:
        """What to draw, called on every process; None where nothing was collected."""
        raise NotImplementedError

    def figure(self, collected: Any, class_names: Sequence[str] | None, title: str) -> "Figure":
        """The drawing of what `collect` gave."""
        raise NotImplementedError

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            self.add(trainer, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        fitting = trainer.state.fn == "fit"
        self._newest = (
            self.collect(trainer),
            f"validation, epoch {trainer.current_epoch + 1}" if fitting else "validation",
        )
        if not fitting or self._throttle.due():
            self._draw(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._draw(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.reset()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.add(trainer, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._newest = (self.collect(trainer), "test")
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the newest, unless it is drawn already."""
        newest, self._newest = self._newest, None
        if newest is None or newest[0] is None or not trainer.is_global_zero:
            return
        figure = self.figure(newest[0], getattr(pl_module, "class_names", None), newest[1])
        with atomic_path(Path(trainer.default_root_dir) / self.file_name) as path:
            figure.savefig(path, dpi=110)
