"""Weights of a T5, laid out once for the many small matrix products of decoding.

Legend: B sources, K hypotheses per source, S tokens per source, H heads, D = d_kv, M = d_model, F = d_ff,
V = vocab_size. L = K or S.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.t5.feed_forward import GatedFeedForward, gelu
from architectures.t5.model import T5
from architectures.t5.norm import RMSNorm
from architectures.t5.stack import Block, Stack, check_dtype


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
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the products of the rows of x, [..., inputs], in the layer's dtype: [..., outputs]."""
        x = x.to(self.dtype)
        if not self.packed:
            return F.linear(x, self.weight)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return out


class FixedNorm:
    """RMSNorm without gradient: [..., M] -> [..., M], in float32 or the dtype of its input, whichever is wider.

    Args:
        norm: The norm; calling it takes more than twice as long, because it handles autocast.
    """

    def __init__(self, norm: RMSNorm) -> None:
        self.weight = norm.weight.detach().to(torch.promote_types(norm.weight.dtype, torch.float32))
        self.epsilon = norm.epsilon

    def __call__(self, x: Tensor) -> Tensor:
        """Return the normalised rows of x."""
        return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.epsilon)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether oneDNN has fast matrix products in this dtype on this device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


class BlockWeights:
    """Layers of one block of the encoder or the decoder.

    Args:
        block: The block.
        dtype: Dtype in which to compute.
        packed: Whether weights are in oneDNN's layout.
    """

    def __init__(self, block: Block, dtype: torch.dtype, packed: bool) -> None:
        def linear(*layers: nn.Linear) -> FixedLinear:
            return FixedLinear([layer.weight for layer in layers], dtype, packed)

        own, feed_forward = block.self_attention, block.feed_forward
        self.self_attention_norm = FixedNorm(block.self_attention_norm)
        self.self_qkv, self.self_o = linear(own.q, own.k, own.v), linear(own.o)
        if hasattr(block, "cross_attention"):
            cross = block.cross_attention
            self.cross_attention_norm = FixedNorm(block.cross_attention_norm)
            self.cross_q, self.cross_kv, self.cross_o = linear(cross.q), linear(cross.k, cross.v), linear(cross.o)
        self.feed_forward_norm = FixedNorm(block.feed_forward_norm)
        self.gated = isinstance(feed_forward, GatedFeedForward)
        if isinstance(feed_forward, GatedFeedForward):
            self.wi = linear(feed_forward.wi_0, feed_forward.wi_1)
        else:
            self.wi = linear(feed_forward.wi)
        self.wo = linear(feed_forward.wo)

    def feed_forward(self, x_BLM: Tensor) -> Tensor:
        """Return what `FeedForward` or `GatedFeedForward` returns, without dropout."""
        h_BLF = self.wi(x_BLM)
        if self.gated:
            gate_BLF, value_BLF = h_BLF.chunk(2, dim=-1)
            return self.wo(gelu(gate_BLF) * value_BLF)
        return self.wo(h_BLF.relu_())


class DecodingWeights:
    """Layers of a model, laid out for decoding in the active precision: autocast's or the model's own.

    Args:
        model: The model, whose weights must not change while this is in use.

    Raises:
        ValueError: The computation would run in float16.
    """

    def __init__(self, model: T5) -> None:
        self.model = model
        self.dtype = check_dtype(model.embedding.weight)
        device = model.embedding.weight.device
        # On a CPU, attention over the few keys of a step is faster in float32, and more exact.
        self.attention_dtype = torch.promote_types(self.dtype, torch.float32) if device.type == "cpu" else self.dtype

        # Even for few rows, because a result must not depend on how sources are spread over calls and processes.
        self.packed = can_pack(device, self.dtype)
        encoder, decoder = model.encoder, model.decoder
        self.encoder_blocks = self._blocks(encoder) if self.packed else []
        self.encoder_norm = FixedNorm(encoder.final_norm)
        self.blocks = self._blocks(decoder)
        self.final_norm = FixedNorm(decoder.final_norm)
        self.output = FixedLinear([model.output_weight], self.dtype, self.packed)

    def _blocks(self, stack: Stack) -> list[BlockWeights]:
        return [BlockWeights(cast(Block, block), self.dtype, self.packed) for block in stack.blocks]

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return what `T5.encode` returns, memory_BSM, in float32 at least."""
        if not self.packed:
            return self.model.encode(input_ids, attention_mask)
        x_BSM = self.model.embedding(input_ids)
        bias_BHSS = self.model.encoder.self_attention_bias(input_ids.shape[1], attention_mask).to(self.dtype)
        for block in self.encoder_blocks:
            q_BHSD, k_BHSD, v_BHSD = self.split_heads(block.self_qkv(block.self_attention_norm(x_BSM)), 3)
            out_BHSD = F.scaled_dot_product_attention(q_BHSD, k_BHSD, v_BHSD, bias_BHSS, scale=1.0)
            x_BSM = x_BSM + block.self_o(out_BHSD.transpose(1, 2).flatten(2))
            x_BSM = x_BSM + block.feed_forward(block.feed_forward_norm(x_BSM))
        return self.encoder_norm(x_BSM)

    def split_heads(self, x_BLN: Tensor, parts: int) -> Tensor:
        """Split outputs [B, L, parts H D] into queries, keys or values, [parts, B, H, L, D]."""
        config = self.model.config
        return x_BLN.unflatten(-1, (parts, config.num_heads, config.d_kv)).permute(2, 0, 3, 1, 4)

    def memory_keys_and_values(self, memory_BSM: Tensor) -> Tensor:
        """Return every block's cross-attention keys and values of the sources, [blocks, 2, B H, S, D]."""
        kv = [self.split_heads(block.cross_kv(memory_BSM), 2).flatten(1, 2) for block in self.blocks]
        return torch.stack(kv).to(self.attention_dtype)

    def logits(self, x_BKM: Tensor) -> Tensor:
        """Return logits_BKV for the output of the last block."""
        return self.output(self.model.scale(self.final_norm(x_BKM)))
