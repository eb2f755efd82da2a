"""EMA: the exponential moving average of the weights, swapped in for validation and for the final weights."""

from collections import defaultdict
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from utils.checks import check_fraction, check_positive_int
from utils.distributed import copy_from_first


class EMA(EMAWeightAveraging):
    """Exponential moving average of the weights: Lightning's `EMAWeightAveraging` with four corrections.

    Validation, `best.ckpt` and `test` use the averaged weights (`state_dict` in a checkpoint). The raw weights are kept
    beside them (`current_model_state`), and training continues from those. What differs from Lightning:

    - Before its first update, Lightning's average holds the untrained weights that it copied at the start. Here it is
      the current weights until then, in validation and in checkpoints.
    - Lightning overwrites the raw weights with the average as soon as training ends, before the last checkpoint is
      written. Here that happens afterwards, so that the last checkpoint also has both.
    - Lightning copies the module with everything that it refers to: the Trainer and its data, and the parser of the
      command line, which with several processes cannot be copied. Here only weights and buffers are copied, to the
      device on which they will be trained.
    - Lightning updates one tensor after another, and waits for the device twice. Here a few operators update all
      tensors (`Average`).

    With several processes, each keeps the same average, because each has the same weights: only the running statistics
    of the first process, which are those that a checkpoint holds, are sent before a validation.

    Args:
        decay: Fraction of the average that each update keeps, at least 0 and below 1; 0.999 averages over about 1,000
            updates.
        update_every_n_steps: Number of optimizer steps between two updates.
        update_starting_at_step: Number of optimizer steps before the first update.
    """

    _average_model: "Average | None"

    def __init__(self, decay: float = 0.999, update_every_n_steps: int = 1, update_starting_at_step: int = 0):
        self._decay = check_fraction("decay", decay)
        super().__init__(
            decay=decay,
            update_every_n_steps=check_positive_int("update_every_n_steps", update_every_n_steps),
            update_starting_at_step=update_starting_at_step,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the weights when a fit begins."""
        if stage == "fit":
            self._average_model = Average(_weights_of(pl_module), trainer.strategy.root_device, self._decay)

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

        What a script does next with the same trainer, such as testing a checkpoint, works as in a new process.
        """
        self._follow_until_first_update(pl_module)
        self._copy_average_to_current(pl_module)
        self._average_model = None


class Average(AveragedModel):
    """torch's `AveragedModel`, updated by one operator per dtype, without waiting for the device.

    Integer buffers, such as the batches that a batch norm has seen, are the current ones.

    Args:
        model: The module whose weights are averaged.
        device: Device of the average: that of the weights.
        decay: Share of the average that each update keeps.
    """

    def __init__(self, model: nn.Module, device: torch.device, decay: float) -> None:
        super().__init__(model, device)
        self.decay = decay
        self._has_begun = False  # whether there was an update, as far as known without asking the device
        self._weights: tuple[_Weights, _Weights] | None = None  # from the first update: SyncBatchNorm comes after setup

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Update the average with the weights of a module, always the same; the first update copies them."""
        self._has_begun = self._has_begun or bool(self.n_averaged > 0)
        if self._weights is None:
            # channels_last comes after setup, and one kernel takes only equal layouts
            for average, weight in zip(self.module.parameters(), model.parameters(), strict=True):
                if average.stride() != weight.stride():
                    average.data = torch.empty_like(weight).copy_(average)
            self._weights = _Weights(self.module), _Weights(model)
        mine, theirs = (each.by_dtype() for each in self._weights)
        for dtype, averages in mine.items():
            weights = theirs[dtype]
            if self._has_begun and dtype.is_floating_point:
                torch._foreach_lerp_(averages, weights, 1 - self.decay)
            else:
                torch._foreach_copy_(averages, weights)
        self.n_averaged += 1
        self._has_begun = True


class _Weights:
    """The parameters and buffers of a module, found once: walking through all modules takes longer than an update."""

    def __init__(self, module: nn.Module) -> None:
        self._parameters = list(module.parameters())
        # A module may replace a buffer by another tensor, so it is looked up where it is
        self._buffers = [
            (each._buffers, name)
            for each in module.modules()
            for name in each._buffers
            if each._buffers[name] is not None
        ]

    def by_dtype(self) -> dict[torch.dtype, list[Tensor]]:
        """Return all tensors, grouped by dtype."""
        found: dict[torch.dtype, list[Tensor]] = defaultdict(list)
        for tensor in dict.fromkeys(chain(self._parameters, (buffers[name] for buffers, name in self._buffers))):
            assert tensor is not None
            found[tensor.dtype].append(tensor)
        return found


def _weights_of(pl_module: LightningModule) -> nn.Module:
    """Return a plain module with the same submodules, parameters and buffers, by the same names, and nothing else."""
    weights = nn.Module()
    for kind in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
        setattr(weights, kind, getattr(pl_module, kind))
    return weights
