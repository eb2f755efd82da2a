"""Exponential moving average of the weights."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.optim.swa_utils import AveragedModel

from utils.checks import check_fraction, check_positive_int


class EMA(EMAWeightAveraging):
    """Exponential moving average of the weights: Lightning's `EMAWeightAveraging` with two corrections.

    Validation, `best.ckpt` and `test` use the averaged weights (`state_dict` in a checkpoint). The raw weights are kept
    beside them (`current_model_state`), and training continues from those. What differs from Lightning:

    - Before its first update, Lightning's average holds the untrained weights that it copied at the start. Here it is
      the current weights until then, in validation and in checkpoints.
    - Lightning overwrites the raw weights with the average as soon as training ends, before the last checkpoint is
      written. Here that happens afterwards, so that the last checkpoint has both too.

    Args:
        decay: Share of the average that each update keeps, at least 0 and below 1; 0.999 averages over about 1,000
            updates.
        update_every_n_steps: Number of optimizer steps from one update to the next.
        update_starting_at_step: Number of optimizer steps before the first update.
    """

    _average_model: AveragedModel | None

    def __init__(self, decay: float = 0.999, update_every_n_steps: int = 1, update_starting_at_step: int = 0):
        super().__init__(
            decay=check_fraction("decay", decay),
            update_every_n_steps=check_positive_int("update_every_n_steps", update_every_n_steps),
            update_starting_at_step=update_starting_at_step,
        )

    def _follow_until_first_update(self, pl_module: LightningModule) -> None:
        if self._average_model is not None and self._average_model.n_averaged == 0:
            self._average_model.module.load_state_dict(pl_module.state_dict())

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Use the averaged weights; before the first update they are the current ones."""
        self._follow_until_first_update(pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save averaged and raw weights; before the first update both are the current ones."""
        self._follow_until_first_update(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore averaged and raw weights in a fit; an evaluation has loaded the averaged ones already."""
        if self._average_model is not None:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the raw weights in place: the last checkpoint is about to be written."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the averaged weights into the module and drop the average.

        What a script does next with the same trainer, such as a test of a checkpoint, is as in a new process.
        """
        self._follow_until_first_update(pl_module)
        self._copy_average_to_current(pl_module)
        self._average_model = None
