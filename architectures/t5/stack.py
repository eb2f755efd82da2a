"""Encoder and decoder of T5: blocks that add to one residual stream, and one bias of all their self-attentions.

Raffel et al. 2020, arXiv:1910.10683, section 2.1: the norm precedes each layer, outside the residual path.

Legend: B batch, L tokens of this stack, S tokens of the source, H heads, Q queries, K keys, M = d_model.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from architectures.t5.attention import Attention, RelativePositionBias, causal_bias, padding_bias
from architectures.t5.config import T5Config
from architectures.t5.dropout import Dropout
from architectures.t5.feed_forward import FeedForward, GatedFeedForward, RMSNorm, compute_dtype


class Block(nn.Module):
    """Self-attention, in a decoder cross-attention, feed-forward; each normed ahead and added to x.

    Args:
        config: Shape.
        is_decoder: Whether there is cross-attention.
    """

    def __init__(self, config: T5Config, is_decoder: bool) -> None:
        super().__init__()
        self.self_attention_norm = RMSNorm(config)
        self.self_attention = Attention(config)
        if is_decoder:
            self.cross_attention_norm = RMSNorm(config)
            self.cross_attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config)
        self.feed_forward = FeedForward(config) if config.feed_forward_proj == "relu" else GatedFeedForward(config)
        self.dropout = Dropout(config.dropout_rate)

    def forward(
        self,
        x_BLM: Tensor,
        bias: Tensor,
        memory_BSM: Tensor | None = None,
        memory_bias_B11S: Tensor | None = None,
        record: "AttentionRecord | None" = None,
    ) -> Tensor:
        """Pass the residual stream on, [B, L, M] -> [B, L, M]; biases as `Attention` takes them."""
        h_BLM = self.self_attention_norm(x_BLM)
        x_BLM = x_BLM + self.dropout(
            self.self_attention(h_BLM, h_BLM, bias, None if record is None else record.self_attention)
        )
        if memory_BSM is not None and memory_bias_B11S is not None:
            h_BLM = self.cross_attention_norm(x_BLM)
            x_BLM = x_BLM + self.dropout(
                self.cross_attention(
                    h_BLM, memory_BSM, memory_bias_B11S, None if record is None else record.cross_attention
                )
            )
        return x_BLM + self.dropout(self.feed_forward(self.feed_forward_norm(x_BLM)))


class AttentionRecord:
    """Attention weights of one pass through a stack, one tensor a block.

    Attributes:
        self_attention: Of float32 [B, H, L, L] each.
        cross_attention: Of float32 [B, H, L, S] each; empty for an encoder.
    """

    def __init__(self) -> None:
        self.self_attention: list[Tensor] = []
        self.cross_attention: list[Tensor] = []


class Stack(nn.Module):
    """Encoder or decoder: embedded tokens [B, L, M] -> normed hidden states [B, L, M].

    Args:
        config: Shape.
        is_decoder: Whether attention is causal and a source is read by cross-attention.
        activation_checkpointing: Keep only each block's input in training and compute the rest again in the backward
            pass: memory of one block instead of all, for a third more work.
    """

    def __init__(self, config: T5Config, is_decoder: bool, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.is_decoder = is_decoder
        self.activation_checkpointing = activation_checkpointing
        depth = config.decoder_depth if is_decoder else config.num_layers
        self.position_bias = RelativePositionBias(config, bidirectional=not is_decoder)
        self.blocks = nn.ModuleList(Block(config, is_decoder) for _ in range(depth))
        self.final_norm = RMSNorm(config)
        self.dropout = Dropout(config.dropout_rate)

    def forward(
        self,
        x_BLM: Tensor,
        mask_BL: Tensor | None,
        memory_BSM: Tensor | None = None,
        memory_mask_BS: Tensor | None = None,
        record: AttentionRecord | None = None,
    ) -> Tensor:
        """Run all blocks.

        Args:
            x_BLM: Embedded tokens.
            mask_BL: True (or not 0) at real tokens; None where all are.
            memory_BSM: The encoder's output, for a decoder.
            memory_mask_BS: True (or not 0) at real tokens of the source, for a decoder.
            record: Where given, attention weights are appended to it.

        Raises:
            ValueError: The computation runs in float16.
        """
        dtype = check_dtype(x_BLM)
        bias = self.self_attention_bias(x_BLM.shape[1], mask_BL).to(dtype)
        memory_bias_B11S = None if memory_mask_BS is None else padding_bias(memory_mask_BS).to(dtype)

        x_BLM = self.dropout(x_BLM)
        for block in self.blocks:
            if self.activation_checkpointing and self.training and torch.is_grad_enabled():
                x_BLM = checkpoint(block, x_BLM, bias, memory_BSM, memory_bias_B11S, use_reentrant=False)
            else:
                x_BLM = block(x_BLM, bias, memory_BSM, memory_bias_B11S, record)
        return self.dropout(self.final_norm(x_BLM))

    def self_attention_bias(self, length: int, mask_BL: Tensor | None) -> Tensor:
        """Return position bias and masks of every self-attention in one: [B, H, L, L], or [1, H, L, L] unmasked."""
        bias = self.position_bias(length)
        if self.is_decoder:
            bias = bias + causal_bias(length, bias.device)
        return bias if mask_BL is None else bias + padding_bias(mask_BL)


def check_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which the layers compute on `x` here.

    Raises:
        ValueError: It is float16.
    """
    dtype = compute_dtype(x)
    if dtype == torch.float16:
        raise ValueError(
            "T5 does not run in float16: outputs of its feed-forward layers pass 65,504, the largest number there is. "
            "Use bfloat16 (precision: bf16-mixed) or float32 (precision: 32-true)"
        )
    return dtype
