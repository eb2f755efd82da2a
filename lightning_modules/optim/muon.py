"""Muon: momentum orthogonalised by a Newton-Schulz iteration (Keller Jordan et al. 2024)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# p(s) = a s + b s^3 + c s^5 takes singular values in (0, 1] to about [0.7, 1.2] in five steps: its slope at zero is as
# steep as possible, at the price of not converging to exactly one, which training does not notice.
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: U S V^T becomes about U V^T.

    A Newton-Schulz iteration needs only matrix products and is stable in bfloat16 (Keller Jordan et al. 2024, "Muon:
    an optimizer for hidden layers in neural networks").

    Args:
        matrix: [rows, columns], any floating dtype.
        steps: Iterations; 3 suffice for a small CNN, 5 is usual.

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
    return (x.T if tall else x).to(matrix.dtype)


class Muon(Optimizer):
    """Momentum orthogonalised by Newton-Schulz for the body's matrices and filters, SGD for everything else.

    `torch.optim.Muon` takes 2-D parameters only; here a filter [out, in, k, k] is treated as the matrix
    [out, in * k * k], and biases, norms and the head, which Muon is not for, are trained by SGD with Nesterov momentum
    in the same optimizer, so that one schedule, one state and one gradient clipping serve them all.

    A filter's norm is set to sqrt(out) before each step, as in airbench94_muon (Keller Jordan 2024): a filter in front
    of a batch norm has no scale that matters, so `lr` alone sets the angle that each step turns it by.

    Args:
        params: Groups of `parameter_groups`, told apart by their `name`.
        lr: Learning rate of the body's matrices and filters (group `weights`).
        momentum: Nesterov momentum of the body's matrices and filters.
        head_lr: SGD learning rate of the last layer's matrix.
        vector_lr: SGD learning rate of biases and normalisation parameters.
        sgd_momentum: Nesterov momentum of what SGD trains.
        weight_decay: L2 penalty on the head's matrix; the filters' norm is fixed and vectors are never decayed.
        newton_schulz_steps: Iterations of the orthogonalisation.

    Raises:
        ValueError: A rate is negative, or momentum is not in [0, 1).
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.24,
        momentum: float = 0.6,
        head_lr: float = 0.67,
        vector_lr: float = 0.053,
        sgd_momentum: float = 0.85,
        weight_decay: float = 0.0,
        newton_schulz_steps: int = 3,
    ):
        rates = {"weights": lr, "head": head_lr, "head_vectors": vector_lr, "vectors": vector_lr}
        if min(*rates.values(), weight_decay) < 0:
            raise ValueError(f"lr, head_lr, vector_lr and weight_decay must be >= 0, got {rates} and {weight_decay}")
        for name, value in (("momentum", momentum), ("sgd_momentum", sgd_momentum)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be in [0, 1), got {value}")
        groups = [
            {**group, "lr": rates[group["name"]], "momentum": momentum if group["name"] == "weights" else sgd_momentum}
            for group in params
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.newton_schulz_steps = newton_schulz_steps

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Takes one step; `closure`, which computes the gradients, is called first and its result returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_parameter(parameter, parameter.grad, group)
        return loss

    def _step_parameter(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
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
