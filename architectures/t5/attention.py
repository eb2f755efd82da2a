"""Attention of T5: unscaled scores, no bias terms, and a learned offset per distance between query and key.

Raffel et al. 2020, arXiv:1910.10683, section 2.1; the numerics follow Mesh TensorFlow's `transformer_layers.py`.

Legend: B batch, L tokens per sequence, Q queries, K keys, H heads, D = d_kv, M = d_model.
"""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from architectures.t5.config import T5Config
from architectures.t5.dropout import Dropout

PADDING = -1e9
"""Added to the score of a padding key: its weight is 0 beside any real key, but a row of only padding stays finite."""

FUTURE = 2 * PADDING
"""Added to the score of a later token: below `PADDING`, so that padding before a target does not see the target."""


class Attention(nn.Module):
    """Multi-head attention: queries from x_BQM, keys and values from memory_BKM -> [B, Q, M].

    Args:
        config: Source of M, D, H, the dropout rate of attention weights and the scale of initial weights.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = Dropout(config.inner_dropout_rate)
        inner = config.num_heads * config.d_kv
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)

        factor = config.initializer_factor
        # T5 has d_kv**-0.5, by which others scale the scores, in the initial weights of the queries.
        nn.init.normal_(self.q.weight, std=factor * (config.d_model * config.d_kv) ** -0.5)
        nn.init.normal_(self.k.weight, std=factor * config.d_model**-0.5)
        nn.init.normal_(self.v.weight, std=factor * config.d_model**-0.5)
        nn.init.normal_(self.o.weight, std=factor * inner**-0.5)

    def forward(self, x_BQM: Tensor, memory_BKM: Tensor, bias: Tensor, record: list[Tensor] | None = None) -> Tensor:
        """Attend from x to memory, which is x itself or the encoder's output.

        Args:
            x_BQM: Source of the queries.
            memory_BKM: Source of the keys and values.
            bias: Added to the scores; broadcasts to [B, H, Q, K] and has the dtype of the queries.
            record: If given, the attention weights [B, H, Q, K] are appended to it.
        """
        k_BHKD, v_BHKD = self.keys_and_values(memory_BKM)
        return self.attend(self.queries(x_BQM), k_BHKD, v_BHKD, bias, record)

    def queries(self, x_BQM: Tensor) -> Tensor:
        """Return queries [B, H, Q, D] projected from x, [B, Q, M]."""
        return self._split_heads(self.q(x_BQM))

    def keys_and_values(self, memory_BKM: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, [B, H, K, D] each, projected from memory, [B, K, M]."""
        return self._split_heads(self.k(memory_BKM)), self._split_heads(self.v(memory_BKM))

    def attend(
        self, q_BHQD: Tensor, k_BHKD: Tensor, v_BHKD: Tensor, bias: Tensor, record: list[Tensor] | None = None
    ) -> Tensor:
        """Return the attention output [B, Q, M] for projected queries, keys and values; see `forward`."""
        if record is not None:
            record.append(scores(q_BHQD, k_BHKD, bias).float().softmax(dim=-1))
        if plain_steps_are_faster(q_BHQD):
            out_BHQD = self.dropout(scores(q_BHQD, k_BHKD, bias).softmax(dim=-1)) @ v_BHKD
        else:
            # Other backends than these two have returned wrong gradients with a bias.
            trains_on_gpu = q_BHQD.is_cuda and torch.is_grad_enabled()
            with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]) if trains_on_gpu else nullcontext():
                out_BHQD = F.scaled_dot_product_attention(
                    q_BHQD, k_BHKD, v_BHKD, bias, dropout_p=self.dropout.p if self.training else 0.0, scale=1.0
                )
        return self.o(out_BHQD.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, L, H D] -> [B, H, L, D]


def scores(q_BHQD: Tensor, k_BHKD: Tensor, bias: Tensor) -> Tensor:
    """Return the scores [B, H, Q, K] whose softmax are the attention weights."""
    return (q_BHQD @ k_BHKD.transpose(-1, -2)).add_(bias)


def plain_steps_are_faster(q: Tensor) -> bool:
    """Return whether to write attention out as softmax(q k^T + bias) v instead of calling torch's fused kernel.

    That is so where gradients are computed on a CPU. The kernel there has neither dropout nor a gradient of the bias:
    `scaled_dot_product_attention` would take the same steps as we do, with slower dropout, two products by a scale of 1
    and tests for rows that see nothing. Without dropout and for a bias without a gradient it has the kernel, whose
    derivative in bfloat16 is slower than that of the steps (results/LOG.md).
    """
    in_eager_mode = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return in_eager_mode and q.device.type == "cpu" and q.dtype in (torch.float32, torch.bfloat16)


class RelativePositionBias(nn.Module):
    """Learned offset of the attention scores per head and distance from query to key, shared by a stack's blocks.

    Args:
        config: Source of the number of buckets, the maximum distance, H and the scale of initial weights.
        bidirectional: Whether later keys have their own buckets (encoder) or are never seen (decoder).
    """

    def __init__(self, config: T5Config, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.num_buckets = config.relative_attention_num_buckets
        self.max_distance = config.relative_attention_max_distance
        self.embedding = nn.Embedding(self.num_buckets, config.num_heads)
        nn.init.normal_(self.embedding.weight, std=config.initializer_factor * config.d_model**-0.5)

    def forward(self, length: int) -> Tensor:
        """Return bias_1HQK, [1, H, length, length], in the dtype of the weights."""
        # The offsets depend only on k - q, which has 2 length - 1 values; the row of each query is a window of them.
        relative_position = torch.arange(1 - length, length, device=self.embedding.weight.device)
        windows_HQK = self.values(relative_position).unfold(-1, length, 1)  # the window of the last query comes first
        return windows_HQK.flip(1).unsqueeze(0)

    def values(self, relative_position_N: Tensor) -> Tensor:
        """Return the offsets [H, N] for N relative positions, each that of a key minus that of its query."""
        bucket_N = relative_position_bucket(
            relative_position_N, self.bidirectional, self.num_buckets, self.max_distance
        )
        return self.embedding(bucket_N).T


def relative_position_bucket(
    relative_position: Tensor, bidirectional: bool, num_buckets: int, max_distance: int
) -> Tensor:
    """Return the bucket of each relative position: exact for short distances, logarithmic for long ones.

    Half of the buckets per direction stand for one distance each. The others widen by a constant factor up to
    `max_distance`, and the last one holds all longer distances. The logarithm is taken in float32 and truncated, as it
    was when the published weights were trained: in float64 some distances would fall into the next bucket.

    Args:
        relative_position: Position of the key minus that of the query, integers of any shape.
        bidirectional: Whether keys after the query use the upper half of the buckets; otherwise they share bucket 0.
        num_buckets: Total number of buckets, at least 4.
        max_distance: Distance from which all distances are certain to be in the last bucket.

    Returns:
        Integers of the same shape, from 0 to `num_buckets` - 1.
    """
    offset = torch.zeros_like(relative_position)
    if bidirectional:
        num_buckets //= 2
        offset = (relative_position > 0) * num_buckets
        distance = relative_position.abs()
    else:
        distance = (-relative_position).clamp(min=0)

    exact = num_buckets // 2
    growth = (distance.clamp(min=exact).float() / exact).log() / math.log(max_distance / exact)
    logarithmic = (exact + (growth * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return offset + torch.where(distance < exact, distance, logarithmic)


def padding_bias(mask_BK: Tensor) -> Tensor:
    """Return bias_B11K in float32: 0 where `mask_BK` is true (or nonzero), `PADDING` elsewhere."""
    return (~mask_BK.bool())[:, None, None, :] * PADDING


def causal_bias(length: int, device: torch.device) -> Tensor:
    """Return bias_11QK in float32: 0 for the query's own and earlier tokens, `FUTURE` for later ones."""
    return torch.full((1, 1, length, length), FUTURE, dtype=torch.float32, device=device).triu(diagonal=1)
