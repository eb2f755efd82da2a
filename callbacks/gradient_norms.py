"""How large the gradient is, in all and of each part of the network."""

import math
from collections import defaultdict
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_warn
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from utils.contracts import network_of


class GradientNorms(Callback):
    """Logs `grad_norm/<part>` for each direct child of the network and `grad_norm/total`, before any clipping.

    A norm is the root of the sum of squares over all gradients of a part, those of the whole optimizer step: all
    accumulated batches and processes. A norm that is not finite is logged as it is, and the first one is told in a
    warning (with the loss scaling of 16-mixed, which provokes them in search of its scale, it is not).

    Args:
        every_n_steps: Optimizer steps from one measurement to the next; the first is at the run's first step.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._warned = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if trainer.global_step % self.every_n_steps != 0:
            return
        norms = gradient_norms(network_of(pl_module))
        if norms:
            self._warn_of(norms, trainer)
            _log(norms, trainer)

    def _warn_of(self, norms: dict[str, float], trainer: Trainer) -> None:
        wrong = [part for part, norm in norms.items() if not math.isfinite(norm) and part != "total"]
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if wrong and not scaled and not self._warned:
            self._warned = True
            rank_zero_warn(f"optimizer step {trainer.global_step + 1}: gradient not finite in {', '.join(wrong)}")


def gradient_norms(network: nn.Module) -> dict[str, float]:
    """The norm of the gradient of each direct child that has one, then `total`; empty where there is no gradient.

    A parameter shared by two children counts in the first; one of the network itself stands under its own name.
    """
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            parts[name.partition(".")[0]].append(parameter.grad)
    if not parts:
        return {}
    # One wait for the device, for all norms together
    norms = torch.stack([get_total_norm(gradients) for gradients in parts.values()]).cpu().double()
    values = [*norms.tolist(), torch.linalg.vector_norm(norms).item()]
    return dict(zip([*parts, "total"], values, strict=True))


def _log(norms: dict[str, float], trainer: Trainer) -> None:
    """Log at once, under the step at which Lightning logs all else of this batch.

    `pl_module.log` would repeat a value at later steps, until the epoch ends or the run is interrupted, and would leave
    out what falls between two multiples of `log_every_n_steps`.
    """
    if not trainer.is_global_zero:
        return
    values: dict[str, Any] = {f"grad_norm/{part}": norm for part, norm in norms.items()}
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    for logger in trainer.loggers:
        logger.log_metrics({"epoch": trainer.current_epoch, **values}, step=step)
        logger.save()
