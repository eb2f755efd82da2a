"""Adafactor, which keeps the squares of a matrix's gradients as one number per row and one per column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_modules.optim.base import GroupOptimizer
from utils.checks import check_at_least

Tensors = list[Tensor]

AT_ONCE = 1 << 22
"""Number of elements updated together: many matrices per launch, but no second copy of a large network."""


class Adafactor(GroupOptimizer):
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5), the optimizer of the T5 paper.

    The arithmetic and the settings are those of `torch.optim.Adafactor`, which copies two norms per parameter to the
    host and waits for them. Here all norms stay on the device, and one launch serves many parameters.

    Args:
        params: Parameters, or groups of them.
        lr: Largest relative learning rate: the share of its root mean square by which a step changes a parameter. In
            step t it is the minimum of this and t**-0.5.
        beta2_decay: Exponent of the step, at most 0; the running means of squares forget the share
            t**beta2_decay in step t (section 7.2, -c).
        eps: Minimum root of a squared gradient (null: the precision of the parameter's type), and minimum root mean
            square of a parameter, so that one at zero can leave it (section 8, epsilon_1 and epsilon_2).
        d: Largest root mean square of an update before it is scaled, at least 1 (section 6).
        weight_decay: Decoupled weight decay.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ):
        check_at_least("lr", lr)
        check_at_least("-beta2_decay", -beta2_decay)
        for least in eps:
            check_at_least("eps", least or 0.0)
        check_at_least("d", d, 1.0)
        check_at_least("weight_decay", weight_decay)
        super().__init__(
            params, {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        )

    def update(self, parameters: Tensors, group: dict[str, Any]) -> None:
        """Take a step, for the matrices and the vectors of the group."""
        for are_matrices in (True, False):
            alike = [parameter for parameter in parameters if (parameter.dim() > 1) is are_matrices]
            for portion in _portions(alike):
                self._update_alike(portion, group)

    def _update_alike(self, parameters: Tensors, group: dict[str, Any]) -> None:
        """Take a step for parameters that are all matrices (or stacks of them), or all vectors."""
        (eps1, eps2), lr = group["eps"], group["lr"]
        eps1 = torch.finfo(parameters[0].dtype).eps if eps1 is None else eps1
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        states = [self._count_step(parameter) for parameter in parameters]
        forgotten = [state["step"] ** group["beta2_decay"] for state in states]

        rates = _root_mean_squares(parameters)  # of the parameters before the step
        torch._foreach_clamp_min_(rates, eps2)
        torch._foreach_mul_(rates, [-min(lr, state["step"] ** -0.5) for state in states])
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])

        squares = _squares(states, gradients, forgotten, eps1)
        torch._foreach_clamp_min_(squares, eps1 * eps1)
        updates = squares  # in their memory
        torch._foreach_rsqrt_(updates)
        torch._foreach_mul_(updates, gradients)

        excess = _root_mean_squares(updates)
        torch._foreach_div_(excess, group["d"])
        torch._foreach_clamp_min_(excess, 1.0)
        torch._foreach_div_(rates, excess)
        torch._foreach_mul_(updates, rates)
        torch._foreach_add_(parameters, updates)

    def _count_step(self, parameter: Tensor) -> dict[str, Any]:
        """Count a step of a parameter, and return its state."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            if parameter.dim() > 1:
                state["row_var"] = torch.zeros_like(parameter[..., :1])
                state["col_var"] = torch.zeros_like(parameter[..., :1, :])
            else:
                state["variance"] = torch.zeros_like(parameter)
        state["step"] += 1
        return state


def _portions(parameters: Tensors) -> Iterator[Tensors]:
    """Yield the parameters in lists of up to `AT_ONCE` elements; a larger parameter has its own list."""
    portion: Tensors = []
    for parameter in parameters:
        if portion and sum(each.numel() for each in portion) + parameter.numel() > AT_ONCE:
            yield portion
            portion = []
        portion.append(parameter)
    if portion:
        yield portion


def _squares(states: list[dict[str, Any]], gradients: Tensors, forgotten: list[float], eps1: float) -> Tensors:
    """Update the running means of squared gradients, and return them in the shape of the gradients.

    For a matrix, the mean squares of its rows and columns are kept; their product is the rank-one estimate.
    """
    squares = list(torch._foreach_mul(gradients, gradients))
    if "variance" in states[0]:
        variances = [state["variance"] for state in states]
        torch._foreach_lerp_(variances, squares, forgotten)
        return [variance.clone() for variance in variances]
    for name, dim in (("row_var", -1), ("col_var", -2)):
        means = [square.mean(dim, keepdim=True) for square in squares]
        torch._foreach_lerp_([state[name] for state in states], means, forgotten)
    row_means = [state["row_var"].mean(dim=-2, keepdim=True) for state in states]
    torch._foreach_clamp_min_(row_means, eps1)
    estimates = [state["row_var"] @ state["col_var"] for state in states]
    torch._foreach_div_(estimates, row_means)
    return estimates


def _root_mean_squares(tensors: Tensors) -> Tensors:
    """Return the root mean square of each tensor, on its device."""
    norms = list(torch._foreach_norm(tensors))
    torch._foreach_div_(norms, [tensor.numel() ** 0.5 for tensor in tensors])
    return norms
