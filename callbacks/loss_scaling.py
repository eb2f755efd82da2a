"""Loss scaling, with which 16-mixed keeps small gradients from vanishing in float16."""

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import FSDPPrecision, MixedPrecision
from torch import Tensor
from torch.amp import GradScaler


def scaler_of(trainer: Trainer) -> GradScaler | None:
    """Return what scales the loss; None if nothing does."""
    precision = trainer.precision_plugin
    return precision.scaler if isinstance(precision, MixedPrecision | FSDPPrecision) else None


def unscaled(loss: Tensor, trainer: Trainer) -> Tensor:
    """Return a loss without its scale, with which Lightning passes it to `on_before_backward`.

    Args:
        loss: The scaled loss, as of now: an optimizer step may change the scale.
        trainer: The trainer.
    """
    scaler = scaler_of(trainer)
    if scaler is None:
        return loss
    return loss / scaler.scale(torch.ones((), device=loss.device))  # its `get_scale` would wait for the device
