"""Muon for networks whose parameters start at very different scales, such as T5."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lightning_modules.optim.muon import of_one_shape, orthogonalize
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from utils.checks import check_fraction, check_positive_int


class ScaledMuon(ScaledAdamW):
    """Orthogonalised momentum for matrices, `ScaledAdamW` for embeddings and everything else.

    Muon (Keller Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") gives all singular
    directions of a step the same length, so that rare ones are learned as fast as frequent ones. Here the root mean
    square of a step is `lr` times that of its matrix: a relative rate, as in `ScaledAdamW`, so that one rate suits both
    (Liu et al. 2025, arXiv:2502.16982, section 2.2, match the root mean square of Muon's steps to AdamW's too). An
    embedding keeps `ScaledAdamW`: its rows are words, not directions of one space.

    Muon keeps one value per weight of a matrix where AdamW keeps two.

    Args:
        params: Groups of `parameter_groups`, which say which of their parameters are embeddings.
        lr: Relative learning rate: roughly the share of its own size by which a step changes a parameter.
        betas: Decay rates of the running means of `ScaledAdamW`, both in [0, 1).
        eps: Added to the root of the mean square in `ScaledAdamW`, above 0.
        weight_decay: Decoupled weight decay.
        min_scale: Minimum scale of an update, so that parameters at zero can leave it.
        momentum: Nesterov momentum of matrices, in [0, 1).
        newton_schulz_steps: Number of iterations of the orthogonalisation.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        min_scale: float = 1e-3,
        momentum: float = 0.95,
        newton_schulz_steps: int = 5,
    ):
        check_fraction("momentum", momentum)
        self.newton_schulz_steps = check_positive_int("newton_schulz_steps", newton_schulz_steps)
        super().__init__(params, lr, betas, eps, weight_decay, min_scale)
        for group in self.param_groups:
            group.setdefault("momentum", momentum)

    def update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Take a step of Muon for matrices, and of `ScaledAdamW` for other parameters."""
        embeddings = {id(group["params"][position]) for position in group.get("embeddings", ())}
        matrices = [each for each in parameters if each.ndim == 2 and id(each) not in embeddings]
        chosen = set(map(id, matrices))
        if others := [each for each in parameters if id(each) not in chosen]:
            super().update(others, group)
        if matrices:
            self._update_matrices(matrices, group)

    def _update_matrices(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        means = [self._mean(matrix) for matrix in matrices]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        directions = list(torch._foreach_lerp(gradients, means, group["momentum"]))  # Nesterov's
        if group["weight_decay"]:
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        for alike, theirs in of_one_shape(matrices, directions):
            steps = orthogonalize(torch.stack(theirs), self.newton_schulz_steps)  # [N, rows, columns]
            sizes = _root_mean_square(torch.stack(alike)).clamp_min(group["min_scale"]) / _root_mean_square(steps)
            torch._foreach_add_(alike, list(steps * sizes), alpha=-group["lr"])

    def _mean(self, matrix: Tensor) -> Tensor:
        """Return the running mean of the gradient of a matrix, at first zero."""
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix, memory_format=torch.preserve_format)
        mean: Tensor = state["momentum_buffer"]
        return mean


def _root_mean_square(matrices: Tensor) -> Tensor:
    """Return the root mean square of each of [N, rows, columns] as [N, 1, 1]."""
    return matrices.square().mean(dim=(1, 2), keepdim=True).sqrt()
