"""Gradient norms of the whole network and of each part."""

import math
from collections import defaultdict

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from callbacks.loss_scaling import scaler_of
from utils.checks import check_positive_int
from utils.contracts import network_of
from utils.sharded import whole


class GradientNorms(Callback):
    """Callback that logs gradient norms before clipping.

    It logs `grad_norm/<part>` for each direct child of the network, and `grad_norm/total`. A norm is the square root of
    the sum of squares over all gradients of a part. The gradients are those of the whole optimizer step, over all
    accumulated batches and processes. A norm that is not finite is logged as it is, and a warning reports the first
    one, except with the loss scaling of 16-mixed, which causes such gradients as it searches for its scale.

    Args:
        every_n_steps: Number of optimizer steps between two measurements; the first step is measured.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = check_positive_int("every_n_steps", every_n_steps)
        self._warned = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure and log the norms if this is a step to measure."""
        if trainer.global_step % self.every_n_steps != 0:
            return
        norms = gradient_norms(network_of(pl_module))
        if norms:
            self._warn_once(norms, trainer)
            _log(norms, trainer)

    def _warn_once(self, norms: dict[str, float], trainer: Trainer) -> None:
        wrong = [part for part, norm in norms.items() if not math.isfinite(norm) and part != "total"]
        if wrong and scaler_of(trainer) is None and not self._warned:
            self._warned = True
            rank_zero_warn(f"optimizer step {trainer.global_step + 1}: gradient not finite in {', '.join(wrong)}")


def gradient_norms(network: nn.Module) -> dict[str, float]:
    """Return the gradient norm of each direct child that has gradients, then `total`; empty without gradients.

    A parameter that two children share counts in the first; one of the network itself is listed by its own name.
    """
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            parts[name.partition(".")[0]].append(parameter.grad)
    if not parts:
        return {}
    # Wait for the device only once, for all norms
    norms = torch.stack([whole(get_total_norm(gradients)) for gradients in parts.values()]).cpu().double()
    values = [*norms.tolist(), torch.linalg.vector_norm(norms).item()]
    return dict(zip([*parts, "total"], values, strict=True))


def _log(norms: dict[str, float], trainer: Trainer) -> None:
    """Log at once, under the step at which Lightning logs everything else about this batch.

    `pl_module.log` would repeat a value at later steps until the epoch ends or the run is interrupted, and would leave
    out values between two multiples of `log_every_n_steps`.
    """
    if not trainer.is_global_zero:
        return
    values: dict[str, float] = {"epoch": trainer.current_epoch}
    values.update({f"grad_norm/{part}": norm for part, norm in norms.items()})
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    for logger in trainer.loggers:
        logger.log_metrics(values, step=step)
        logger.save()
