"""What plots of an evaluation's outputs share: when they collect."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from callbacks.plots.newest_plot import NewestPlot, validation_title


class EvaluationPlot(NewestPlot):
    """Collects a validation's or a test's outputs and draws them into one file of the run folder.

    The sanity check is passed over; see `NewestPlot` for when it draws.
    """

    def reset(self) -> None:
        """Forget what was collected: an evaluation begins."""
        raise NotImplementedError

    def add(self, trainer: Trainer, outputs: Any) -> None:
        """Collect from one step's outputs."""
        raise NotImplementedError

    def collect(self, trainer: Trainer) -> Any:
        """What to draw, called on every process; None where nothing was collected."""
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
        self._newest = (self.collect(trainer), validation_title(trainer))
        self._draw_validation(trainer, pl_module)

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
