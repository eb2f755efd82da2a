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
        """Take a step for all parameters of a group at once: on a GPU, launching many small kernels would dominate.

        Of split parameters (FSDP), each process updates its part, by the scale of the whole.
        """
        lr, (beta1, beta2) = group["lr"], group["betas"]
        states = [self._count_step(parameter) for parameter in parameters]
        scales = [whole(norm) for norm in torch._foreach_norm(parameters)]  # of the parameters before the step
        torch._foreach_div_(scales, [parameter.numel() ** 0.5 for parameter in parameters])
        means = [local_part(state["exp_avg"]) for state in states]
        squares = [local_part(state["exp_avg_sq"]) for state in states]
        gradients = [local_part(parameter.grad) for parameter in parameters if parameter.grad is not None]
        parts = [local_part(parameter) for parameter in parameters]

        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [(1 - beta2 ** state["step"]) ** 0.5 for state in states])
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(means, roots)

        torch._foreach_clamp_min_(scales, group["min_scale"])
        torch._foreach_mul_(scales, [-lr / (1 - beta1 ** state["step"]) for state in states])
        torch._foreach_mul_(updates, scales)

        torch._foreach_mul_(parts, 1 - lr * group["weight_decay"])
        torch._foreach_add_(parts, updates)

    def _count_step(self, parameter: Tensor) -> dict[str, Any]:
        """Return the state of a parameter, its step counted."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state |= {
                "step": 0,
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        state["step"] += 1
        return state
