"""RMSNorm, the norm of T5: it neither subtracts a mean nor adds a bias.

Zhang, Sennrich 2019, arXiv:1910.07467.

Legend: N tokens (of all sequences), M = d_model.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.t5.config import T5Config


class RMSNorm(nn.Module):
    """Norm that divides by the root of the mean square and scales: [..., M] -> [..., M], in the compute dtype.

    It computes in float32 at least, regardless of autocast, because a sum of squares in bfloat16 has only 8 bits.

    Args:
        config: Source of M, epsilon and the initial scale.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.epsilon = config.layer_norm_epsilon
        self.weight = nn.Parameter(torch.full((config.d_model,), float(config.initializer_factor)))

    def forward(self, x: Tensor) -> Tensor:
        dtype, exact = compute_dtype(x), torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return rms_norm(x.to(exact), self.weight.to(exact), self.epsilon).to(dtype)


def rms_norm(x: Tensor, weight_M: Tensor, epsilon: float) -> Tensor:
    """Return `torch.nn.functional.rms_norm` over the last dimension of x, in half its time when training on a CPU."""
    if x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return F.rms_norm(x, weight_M.shape, weight_M, epsilon)
    normalized: Tensor = _RMSNorm.apply(x.reshape(-1, x.shape[-1]), weight_M, epsilon)
    return normalized.view_as(x)


class _RMSNorm(torch.autograd.Function):
    """The norm of x_NM with its derivative in few passes over x: torch's own is a chain of eight operators on a CPU."""

    @staticmethod
    def forward(ctx: Any, x_NM: Tensor, weight_M: Tensor, epsilon: float) -> Tensor:
        norm_N1 = torch.linalg.vector_norm(x_NM, dim=-1, keepdim=True)
        scale_N1 = (norm_N1.square() / x_NM.shape[1] + epsilon).rsqrt()
        unit_NM = x_NM * scale_N1
        ctx.save_for_backward(unit_NM, weight_M, scale_N1)
        return unit_NM * weight_M

    @staticmethod
    def backward(ctx: Any, gradient_NM: Tensor) -> tuple[Tensor, Tensor, None]:
        unit_NM, weight_M, scale_N1 = ctx.saved_tensors
        product_NM = gradient_NM * unit_NM
        # How much the gradient of the scaled output points along x, which the norm removes
        along_N1 = (product_NM @ weight_M)[:, None] / unit_NM.shape[1]
        x_gradient_NM = (gradient_NM * weight_M).addcmul_(unit_NM, along_N1, value=-1).mul_(scale_N1)
        return x_gradient_NM, product_NM.sum(0), None


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a linear layer computes on `x` here: autocast's if it is on, otherwise that of `x`."""
    device_type = x.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else x.dtype
