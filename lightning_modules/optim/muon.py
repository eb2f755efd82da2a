"""Muon: momentum orthogonalised by a Newton-Schulz iteration (Keller Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lightning_modules.optim.base import GroupOptimizer
from utils.checks import check_at_least, check_fraction, check_positive_int

# p(s) = a s + b s^3 + c s^5 takes singular values in (0, 1] to about [0.7, 1.2] in five steps: its slope at zero is as
# steep as possible, at the price of not converging to exactly one, which training does not notice.
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return approximately the nearest semi-orthogonal matrix: about U V^T for U S V^T.

    A Newton-Schulz iteration needs only matrix products and is stable in bfloat16 (Keller Jordan et al. 2024, "Muon:
    an optimizer for hidden layers in neural networks").

    Args:
        matrix: [rows, columns], any floating dtype.
        steps: Number of iterations; 3 suffice for a small CNN, 5 is usual.

    Returns:
        [rows, columns] in the dtype of `matrix`.
    """
    a, b, c = NEWTON_SCHULZ_COEFFICIENTS
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)  # the Frobenius norm bounds the largest singular value, which must not exceed one
    tall = x.shape[0] > x.shape[1]
    if tall:  # the Gram matrix is cheaper on the shorter side
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = (x.T if tall else x).to(matrix.dtype)
    return orthogonal


class Muon(GroupOptimizer):
    """Momentum orthogonalised by Newton-Schulz for the body's matrices and filters, SGD for everything else.

    `torch.optim.Muon` takes 2-D parameters only. Here a filter [out, in, k, k] is treated as the matrix
    [out, in * k * k]. Biases, norms and the head, for which Muon is not meant, are trained by SGD with Nesterov
    momentum in the same optimizer, so that one schedule, one state and one gradient clipping serve them all.

    A filter's norm is set to sqrt(out) before each step, as in airbench94_muon (Keller Jordan 2024): the scale of a
    filter before a batch norm does not matter, so `lr` alone sets the angle by which each step turns it.

    Args:
        params: Groups of `parameter_groups`, distinguished by their `name`.
        lr: Learning rate of the body's matrices and filters (group `weights`).
        momentum: Nesterov momentum of the body's matrices and filters, in [0, 1).
        head_lr: SGD learning rate of the last layer's matrix.
        vector_lr: SGD learning rate of biases and normalisation parameters.
        sgd_momentum: Nesterov momentum of everything that SGD trains, in [0, 1).
        weight_decay: L2 penalty on the head's matrix; the filters' norm is fixed and vectors are never decayed.
        newton_schulz_steps: Number of iterations of the orthogonalisation.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 0.24,
        momentum: float = 0.6,
        head_lr: float = 0.67,
        vector_lr: float = 0.053,
        sgd_momentum: float = 0.85,
        weight_decay: float = 0.0,
        newton_schulz_steps: int = 3,
    ):
        check_at_least("lr", lr)
        check_fraction("momentum", momentum)
        check_at_least("head_lr", head_lr)
        check_at_least("vector_lr", vector_lr)
        check_fraction("sgd_momentum", sgd_momentum)
        check_at_least("weight_decay", weight_decay)
        self.newton_schulz_steps = check_positive_int("newton_schulz_steps", newton_schulz_steps)
        rates = {"weights": lr, "head": head_lr, "head_vectors": vector_lr, "vectors": vector_lr}
        groups = [
            {**group, "lr": rates[group["name"]], "momentum": momentum if group["name"] == "weights" else sgd_momentum}
            for group in params
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Take a step of Muon for filters, and of SGD for other parameters."""
        for parameter in parameters:
            assert parameter.grad is not None
            self._update_parameter(parameter, parameter.grad, group)

    def _update_parameter(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        is_filter = group["name"] == "weights"
        if not is_filter and group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        direction = gradient.add(buffer, alpha=group["momentum"])  # Nesterov: look one step ahead
        if is_filter:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            direction = orthogonalize(direction.flatten(1), self.newton_schulz_steps).view(direction.shape)
        parameter.add_(direction, alpha=-group["lr"])
