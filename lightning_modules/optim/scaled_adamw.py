"""AdamW for networks whose parameters start at very different scales, such as T5."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class ScaledAdamW(Optimizer):
    """AdamW in which each update is multiplied by the root mean square of the parameter that it changes.

    T5's embedding starts at a standard deviation of 1 and its projections at about d_model**-0.5: no one learning rate
    fits both, but a relative one does, as in Adafactor (Shazeer and Stern 2018, arXiv:1804.04235, section 8, whose
    epsilon_2 is `min_scale`). The rest is AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, with
    torch's decay of `lr` times `weight_decay`): where a parameter's root mean square is 1, this is `torch.optim.AdamW`.

    Args:
        params: Parameters, or groups of them.
        lr: Share of its own size by which a parameter changes at a step, about: 0.01 is usual, not AdamW's 0.001.
        betas: Decay of the running means of the gradient and of its square.
        eps: Added to the root of the mean square.
        weight_decay: Decoupled weight decay.
        min_scale: Least scale, so that parameters at zero can leave it.

    Raises:
        ValueError: An argument is impossible; the message names it.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        min_scale: float = 1e-3,
    ):
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("min_scale", min_scale)):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if eps <= 0:
            raise ValueError(f"eps must be above 0, got {eps}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must both be in [0, 1), got {tuple(betas)}")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "min_scale": min_scale}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Takes one step; `closure`, which computes the gradients, is called first and its result returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._step_parameters(parameters, group)
        return loss

    def _step_parameters(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """One step of all parameters of a group at once: on a GPU, starting many small kernels would take longest."""
        lr, (beta1, beta2) = group["lr"], group["betas"]
        states = [self._count_step(parameter) for parameter in parameters]
        means = [state["exp_avg"] for state in states]
        squares = [state["exp_avg_sq"] for state in states]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]

        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [(1 - beta2 ** state["step"]) ** 0.5 for state in states])
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(means, roots)

        scales = torch._foreach_norm(parameters)  # of the parameters before the step
        torch._foreach_div_(scales, [parameter.numel() ** 0.5 for parameter in parameters])
        torch._foreach_clamp_min_(scales, group["min_scale"])
        torch._foreach_mul_(scales, [-lr / (1 - beta1 ** state["step"]) for state in states])
        torch._foreach_mul_(updates, scales)

        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_add_(parameters, updates)

    def _count_step(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            state |= {
                "step": 0,
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        state["step"] += 1
        return state
