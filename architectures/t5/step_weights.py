"""Weights of T5's decoder, laid out once for the many small products of decoding.

Legend: B sources, K hypotheses per source, M = d_model, F = d_ff, V = vocab_size.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from architectures.t5.feed_forward import GatedFeedForward, gelu
from architectures.t5.model import T5
from architectures.t5.stack import Block, check_dtype

ROWS_TO_PACK = 8
"""Minimum number of hypotheses for which laying out the weights anew, as costly as some steps, pays for itself."""


class FixedLinear:
    """Linear layer without bias or gradient, in a given dtype: x -> x W^T.

    One step of decoding multiplies a few rows by every weight. Torch's product for that reads a row-major weight at a
    fraction of the memory's speed on a CPU. oneDNN is up to four times as fast if the weight is in its own blocked
    layout.

    Args:
        weights: Weights [outputs, inputs] of layers that read the same input; their outputs are concatenated.
        dtype: Dtype in which to compute.
        packed: Whether to copy the weights into oneDNN's layout.
    """

    def __init__(self, weights: list[Tensor], dtype: torch.dtype, packed: bool) -> None:
        weight = weights[0].detach() if len(weights) == 1 else torch.cat([each.detach() for each in weights])
        self.dtype, self.packed = dtype, packed
        self.weight = weight.to(dtype)
        if packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, ROWS_TO_PACK)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the products of the rows of x, [..., inputs], in the layer's dtype: [..., outputs]."""
        x = x.to(self.dtype)
        if not self.packed:
            return F.linear(x, self.weight)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return out


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether oneDNN has fast products of this dtype here."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


class BlockWeights:
    """Layers of one decoder block, except for the keys and values of the source.

    Args:
        block: The block.
        dtype: Dtype in which to compute.
        packed: Whether weights are in oneDNN's layout.
    """

    def __init__(self, block: Block, dtype: torch.dtype, packed: bool) -> None:
        def linear(*layers: torch.nn.Linear) -> FixedLinear:
            return FixedLinear([layer.weight for layer in layers], dtype, packed)

        own, cross, feed_forward = block.self_attention, block.cross_attention, block.feed_forward
        self.self_attention_norm = block.self_attention_norm
        self.self_qkv, self.self_o = linear(own.q, own.k, own.v), linear(own.o)
        self.cross_attention_norm = block.cross_attention_norm
        self.cross_q, self.cross_o = linear(cross.q), linear(cross.o)
        self.feed_forward_norm = block.feed_forward_norm
        self.gated = isinstance(feed_forward, GatedFeedForward)
        if isinstance(feed_forward, GatedFeedForward):
            self.wi = linear(feed_forward.wi_0, feed_forward.wi_1)
        else:
            self.wi = linear(feed_forward.wi)
        self.wo = linear(feed_forward.wo)

    def feed_forward(self, x_BKM: Tensor) -> Tensor:
        """Return what `FeedForward` or `GatedFeedForward` returns, without dropout."""
        h_BKF = self.wi(x_BKM)
        if self.gated:
            gate_BKF, value_BKF = h_BKF.chunk(2, dim=-1)
            return self.wo(gelu(gate_BKF) * value_BKF)
        return self.wo(h_BKF.relu_())


class StepWeights:
    """Layers of a decoder, laid out for steps of decoding with the precision that is on here: autocast's or its own.

    Args:
        model: The model, whose weights must not change as long as this is in use.
        num_rows: Number of hypotheses that are decoded; with few of them, layers stay as they are.

    Raises:
        ValueError: The computation would run in float16.
    """

    def __init__(self, model: T5, num_rows: int) -> None:
        self.model = model
        self.dtype = check_dtype(model.embedding.weight)
        packed = num_rows >= ROWS_TO_PACK and can_pack(model.embedding.weight.device, self.dtype)
        self.blocks = [BlockWeights(cast(Block, block), self.dtype, packed) for block in model.decoder.blocks]
        self.output = FixedLinear([model.output_weight], self.dtype, packed)

    def memory_keys_and_values(self, memory_BSM: Tensor) -> Tensor:
        """Return every block's cross-attention keys and values of the sources, [L, 2, B H, S, D]."""
        blocks = [cast(Block, block) for block in self.model.decoder.blocks]
        kv = [torch.stack(block.cross_attention.keys_and_values(memory_BSM)) for block in blocks]
        return torch.stack(kv).flatten(2, 3)

    def logits(self, x_BKM: Tensor) -> Tensor:
        """Return logits_BKV for the output of the last block."""
        return self.output(self.model.scale(self.model.decoder.final_norm(x_BKM)))
