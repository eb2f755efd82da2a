"""AdamW for networks whose parameters start at very different scales, such as T5."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lightning_modules.optim.base import GroupOptimizer
from utils.checks import check_at_least, check_fraction, check_positive
from utils.sharded import local_part, whole


class ScaledAdamW(GroupOptimizer):
    """AdamW in which each update is multiplied by the root mean square of the parameter that it changes.

    T5's embedding starts at a standard deviation of 1 and its projections at about d_model**-0.5. No single learning
    rate fits both, but a relative one does, as in Adafactor (Shazeer and Stern 2018, arXiv:1804.04235, section 8, whose
    epsilon_2 is `min_scale`). The rest is AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, with
    torch's decay of `lr` times `weight_decay`): for a parameter whose root mean square is 1, this is
    `torch.optim.AdamW`.

    Args:
        params: Parameters, or groups of them.
        lr: Relative learning rate: roughly the share of its own size by which a step changes a parameter. 0.01 is
            usual, not AdamW's 0.001.
        betas: Decay rates of the running means of the gradient and of its square, both in [0, 1).
        eps: Added to the root of the mean square, above 0.
        weight_decay: Decoupled weight decay.
        min_scale: Minimum scale of an update, so that parameters at zero can leave it.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        min_scale: float = 1e-3,
    ):
        check_at_least("lr", lr)
        for beta in betas:
            check_fraction("betas", beta)
        check_positive("eps", eps)
        check_at_least("weight_decay", weight_decay)
        check_at_least("min_scale", min_scale)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "min_scale": min_scale}
        super().__init__(params, defaults)

    def update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Take a step: one pass over memory for the scales, and torch's fused AdamW, with a rate per parameter.

        If parameters are split (FSDP), each process updates its part, by the scale of the whole.
        """
        (beta1, beta2), decay = group["betas"], group["lr"] * group["weight_decay"]
        states = [self._count_step(parameter) for parameter in parameters]
        rates = _rates(parameters, group["lr"], group["min_scale"])  # of the parameters before the step
        gradients = [local_part(parameter.grad) for parameter in parameters if parameter.grad is not None]
        parts = [local_part(parameter) for parameter in parameters]
        device = parts[0].device
        steps = {step: torch.full((), step, dtype=torch.float32, device=device) for step in {s["step"] for s in states}}
        if decay:  # not the kernel's, which would scale it
            torch._foreach_mul_(parts, 1 - decay)
        for part, gradient, state, rate in zip(parts, gradients, states, rates, strict=True):
            torch._fused_adamw_(
                [part],
                [gradient],
                [local_part(state["exp_avg"])],
                [local_part(state["exp_avg_sq"])],
                [],
                [steps[state["step"]]],
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _count_step(self, parameter: Tensor) -> dict[str, Any]:
        """Count a step of a parameter, and return its state."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state |= {
                "step": 0,
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        state["step"] += 1
        return state


def _rates(parameters: list[Tensor], lr: float, min_scale: float) -> list[Any]:
    """Return the learning rate of each parameter, without waiting for its device: tensors on a GPU, else numbers."""
    on_cpu = parameters[0].device.type == "cpu"
    # A GPU's kernel takes rates in float32, whatever the parameters are
    dtype = torch.promote_types(parameters[0].dtype, torch.float32) if on_cpu else torch.float32
    scales = [whole(norm).to(dtype) for norm in torch._foreach_norm(parameters)]
    torch._foreach_div_(scales, [parameter.numel() ** 0.5 for parameter in parameters])
    torch._foreach_clamp_min_(scales, min_scale)
    torch._foreach_mul_(scales, lr)
    return torch.stack(scales).tolist() if on_cpu else scales
