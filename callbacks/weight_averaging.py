"""Exponential moving average of the weights."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel

from utils.checks import check_fraction, check_positive_int
from utils.distributed import copy_from_first


class EMA(EMAWeightAveraging):
    """Exponential moving average of the weights: Lightning's `EMAWeightAveraging` with three corrections.

    Validation, `best.ckpt` and `test` use the averaged weights (`state_dict` in a checkpoint). The raw weights are kept
    beside them (`current_model_state`), and training continues from those. What differs from Lightning:

    - Before its first update, Lightning's average holds the untrained weights that it copied at the start. Here it is
      the current weights until then, in validation and in checkpoints.
    - Lightning overwrites the raw weights with the average as soon as training ends, before the last checkpoint is
      written. Here that happens afterwards, so that the last checkpoint has both too.
    - Lightning copies the module with all that it refers to: the Trainer and its data, and the parser of the command
      line, which with several processes cannot be copied. Here only weights and buffers are copied, to the device on
      which they will be trained.

    With several processes each keeps the same average, because each has the same weights: nothing is sent but, before
    a validation, the running statistics of the first process, which are those that a checkpoint holds.

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

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the weights when a fit begins."""
        if stage == "fit":
            self._average_model = AveragedModel(
                _weights_of(pl_module), trainer.strategy.root_device, use_buffers=self._use_buffers, **self._kwargs
            )

    def _follow_until_first_update(self, pl_module: LightningModule) -> None:
        if self._average_model is not None and self._average_model.n_averaged == 0:
            self._average_model.module.load_state_dict(pl_module.state_dict())

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Use the averaged weights; before the first update they are the current ones."""
        self._follow_until_first_update(pl_module)
        if self._average_model is not None:
            copy_from_first(self._average_model.module.buffers())
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


def _weights_of(pl_module: LightningModule) -> nn.Module:
    """Return a plain module with the same submodules, parameters and buffers, by the same names, and nothing else."""
    weights = nn.Module()
    for kind in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
        setattr(weights, kind, getattr(pl_module, kind))
    return weights
