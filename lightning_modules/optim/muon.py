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


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return approximately the nearest semi-orthogonal matrices: about U V^T for U S V^T.

    A Newton-Schulz iteration needs only matrix products and is stable in bfloat16 (Keller Jordan et al. 2024, "Muon:
    an optimizer for hidden layers in neural networks").

    Args:
        matrices: [..., rows, columns], any floating dtype.
        steps: Number of iterations; 3 suffice for a small CNN, 5 is usual.

    Returns:
        [..., rows, columns] in the dtype of `matrices`.
    """
    a, b, c = NEWTON_SCHULZ_COEFFICIENTS
    x = matrices.bfloat16().flatten(0, -3) if matrices.ndim > 2 else matrices.bfloat16()[None]
    # The Frobenius norm bounds the largest singular value, which must not exceed one
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    if tall:  # the Gram matrix is cheaper on the shorter side
        x = x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(matrices.shape).to(matrices.dtype)


class Muon(GroupOptimizer):
    """Momentum orthogonalised by Newton-Schulz for the body's matrices and filters, SGD for everything else.

    `torch.optim.Muon` takes 2-D parameters only. Here a filter [out, in, k, k] is treated as the matrix
    [out, in * k * k]. Biases, norms and the head, for which Muon is not meant, are trained by SGD with Nesterov
    momentum in the same optimizer, so that one schedule, one state and one gradient clipping serve them all.

    A filter's norm is set to sqrt(out) before each step, as in airbench94_muon (Keller Jordan 2024): the scale of a
    filter before a batch norm does not matter, so only `lr` sets the angle by which each step turns it. Where no batch
    norm follows, as in VGG or a vision transformer, the first step changes what loaded weights compute.

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
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = [self._buffer(parameter) for parameter in parameters]
        if group["name"] == "weights":
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            directions = list(torch._foreach_add(gradients, buffers, alpha=group["momentum"]))
            for filters in _of_one_shape(parameters, directions):
                self._turn(*filters, group["lr"])
            return
        torch._fused_sgd_(
            parameters,
            gradients,
            buffers,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=True,
            maximize=False,
            is_first_step=False,
        )

    def _buffer(self, parameter: Tensor) -> Tensor:
        """Return the momentum of a parameter, initially zero."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

    def _turn(self, filters: list[Tensor], directions: list[Tensor], lr: float) -> None:
        """Set the norm of filters of one shape and turn them, all by the same few matrix products."""
        if lr == 0:  # not even their norms are to change
            return
        weights = torch.stack([_as_matrix(each, each) for each in filters])  # [N, out, in * k * k]
        steps = orthogonalize(torch.stack(list(map(_as_matrix, directions, filters))), self.newton_schulz_steps)
        norms = torch.linalg.vector_norm(weights, dim=(1, 2), keepdim=True)
        out = weights.shape[1]
        weights *= out**0.5 / norms.clamp(min=1e-7)  # filters that begin as zeros have no direction yet
        weights.sub_(steps, alpha=lr)
        torch._foreach_copy_(filters, list(map(_as_filter, weights, filters)))


def _of_one_shape(filters: list[Tensor], directions: list[Tensor]) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """Group filters, with their directions, by the shape of their matrices."""
    found: dict[tuple[int, int], tuple[list[Tensor], list[Tensor]]] = {}
    for each, direction in zip(filters, directions, strict=True):
        together = found.setdefault((len(each), each.numel()), ([], []))
        together[0].append(each)
        together[1].append(direction)
    return found.values()


def _as_matrix(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a filter, or a tensor of its shape, as a matrix [out, in * k * k], its columns in the filter's order.

    In channels-last memory that is [out, k * k * in], a view. Weights and steps have the same order, and `_as_filter`
    undoes it.
    """
    return (tensor if like.is_contiguous() else tensor.movedim(1, -1)).flatten(1)


def _as_filter(matrix: Tensor, like: Tensor) -> Tensor:
    """Return a matrix of `_as_matrix` as a filter again, with the layout of `like`."""
    return matrix.view_as(like) if like.is_contiguous() else matrix.view(like.movedim(1, -1).shape).movedim(-1, 1)
