"""An exponential moving average of the weights."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.optim.swa_utils import AveragedModel


class EMA(EMAWeightAveraging):
    """Lightning's `EMAWeightAveraging`, mended where it goes wrong.

    Validation, `best.ckpt` and `test` use the averaged weights (`state_dict` in a checkpoint); the raw ones are kept
    beside them (`current_model_state`) and training goes on from those. What differs from Lightning:

    - Before its first update the average holds the untrained weights that it copied at the start. Here it is the
      current weights until then, in validation and in checkpoints.
    - Lightning overwrites the raw weights with the average as soon as training ends, before the last checkpoint is
      written. Here that happens after it, so that checkpoint too has both.

    Args:
        decay: How much of the average stays at each update; 0.999 averages over about 1,000 updates.
        update_every_n_steps: Optimizer steps from one update to the next.
        update_starting_at_step: Optimizer steps before the first update.
    """

    _average_model: AveragedModel | None

    def __init__(self, decay: float = 0.999, update_every_n_steps: int = 1, update_starting_at_step: int = 0):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        if update_every_n_steps < 1:
            raise ValueError(f"update_every_n_steps must be at least 1, got {update_every_n_steps}")
        super().__init__(
            decay=decay, update_every_n_steps=update_every_n_steps, update_starting_at_step=update_starting_at_step
        )

    def _follow_until_first_update(self, pl_module: LightningModule) -> None:
        if self._average_model is not None and self._average_model.n_averaged == 0:
            self._average_model.module.load_state_dict(pl_module.state_dict())

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow_until_first_update(pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._follow_until_first_update(pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._average_model is not None:  # else a test: the averaged weights are loaded already, nothing to say
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the raw weights in place: the last checkpoint is about to be written."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copies the averaged weights into the module and lets go of them.

        What a script does next with the same trainer, such as a test of a checkpoint, is as in a new process.
        """
        self._follow_until_first_update(pl_module)
        self._copy_average_to_current(pl_module)
        self._average_model = None
