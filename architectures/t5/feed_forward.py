"""Feed-forward layer and norm of T5.

Raffel et al. 2020, arXiv:1910.10683, section 2.1; gated: Shazeer 2020, arXiv:2002.05202, equation 6 (GEGLU).
Norm: Zhang, Sennrich 2019, arXiv:1910.07467.

Legend: B batch, L tokens, M = d_model, F = d_ff.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.t5.config import T5Config
from architectures.t5.dropout import Dropout


class FeedForward(nn.Module):
    """`wo(relu(wi(x)))`, [B, L, M] -> [B, L, M], with dropout inside.

    Args:
        config: Gives M, F, the dropout and the scale of first weights.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = _linear(config.d_model, config.d_ff, config.initializer_factor)
        self.wo = _linear(config.d_ff, config.d_model, config.initializer_factor)
        self.dropout = Dropout(config.dropout_rate)

    def forward(self, x_BLM: Tensor) -> Tensor:
        return self.wo(self.dropout(F.relu(self.wi(x_BLM))))


class GatedFeedForward(nn.Module):
    """`wo(gelu(wi_0(x)) * wi_1(x))`, [B, L, M] -> [B, L, M], with dropout inside and GELU by tanh.

    Args:
        config: Gives M, F, the dropout and the scale of first weights.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = _linear(config.d_model, config.d_ff, config.initializer_factor)
        self.wi_1 = _linear(config.d_model, config.d_ff, config.initializer_factor)
        self.wo = _linear(config.d_ff, config.d_model, config.initializer_factor)
        self.dropout = Dropout(config.dropout_rate)

    def forward(self, x_BLM: Tensor) -> Tensor:
        return self.wo(self.dropout(gelu(self.wi_0(x_BLM)) * self.wi_1(x_BLM)))


def gelu(x: Tensor) -> Tensor:
    """Return GELU by its tanh formula (Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2).

    In float32 one operation at a time, as transformers has it: the fused kernel rounds otherwise, and logits that are
    neither scaled nor from a head of their own, some hundreds in size, would differ from transformers' by up to 1e-4.
    """
    if x.dtype != torch.float32:
        return F.gelu(x, approximate="tanh")
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3.0))))


def _linear(inputs: int, outputs: int, factor: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=factor * inputs**-0.5)
    return linear


class RMSNorm(nn.Module):
    """Divide by the root of the mean square, then scale: [..., M] -> [..., M] in the dtype of the computation.

    The division is done in float32 at least, whatever autocast says: a sum of squares in bfloat16 has 8 bits.

    Args:
        config: Gives M, epsilon and the first scale.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.epsilon = config.layer_norm_epsilon
        self.weight = nn.Parameter(torch.full((config.d_model,), float(config.initializer_factor)))

    def forward(self, x: Tensor) -> Tensor:
        dtype, exact = compute_dtype(x), torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return F.rms_norm(x.to(exact), self.weight.shape, self.weight.to(exact), self.epsilon).to(dtype)


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a linear layer computes on `x` here: autocast's where it is on, else that of `x`."""
    device_type = x.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else x.dtype
