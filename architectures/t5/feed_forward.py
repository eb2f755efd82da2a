"""Feed-forward layers of T5.

Raffel et al. 2020, arXiv:1910.10683, section 2.1. Gated layer: Shazeer 2020, arXiv:2002.05202, equation 6 (GEGLU).

Legend: B batch, L tokens, M = d_model, F = d_ff.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.t5.config import T5Config
from architectures.t5.dropout import Dropout, ReluDropout


class FeedForward(nn.Module):
    """Feed-forward layer `wo(relu(wi(x)))` with dropout inside, [B, L, M] -> [B, L, M].

    Args:
        config: Source of M, F, the dropout rate and the scale of initial weights.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = _linear(config.d_model, config.d_ff, config.initializer_factor)
        self.wo = _linear(config.d_ff, config.d_model, config.initializer_factor)
        self.relu_dropout = ReluDropout(config.inner_dropout_rate)

    def forward(self, x_BLM: Tensor) -> Tensor:
        return self.wo(self.relu_dropout(self.wi(x_BLM)))


class GatedFeedForward(nn.Module):
    """Feed-forward layer `wo(gelu(wi_0(x)) * wi_1(x))` with dropout inside, [B, L, M] -> [B, L, M].

    Args:
        config: Source of M, F, the dropout rate and the scale of initial weights.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = _linear(config.d_model, config.d_ff, config.initializer_factor)
        self.wi_1 = _linear(config.d_model, config.d_ff, config.initializer_factor)
        self.wo = _linear(config.d_ff, config.d_model, config.initializer_factor)
        self.dropout = Dropout(config.inner_dropout_rate)

    def forward(self, x_BLM: Tensor) -> Tensor:
        return self.wo(self.dropout(gelu(self.wi_0(x_BLM)) * self.wi_1(x_BLM)))


def gelu(x: Tensor) -> Tensor:
    """Return GELU computed by its tanh formula (Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2).

    In float32 it is computed one operation at a time, as in transformers. The fused kernel rounds differently, and
    logits of several hundred (unscaled, with tied embeddings) would then differ from transformers' by up to 1e-4.
    """
    if x.dtype != torch.float32:
        return F.gelu(x, approximate="tanh")
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3.0))))


def _linear(inputs: int, outputs: int, factor: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=factor * inputs**-0.5)
    return linear
