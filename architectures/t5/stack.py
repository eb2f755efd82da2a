"""Encoder and decoder of T5: blocks that add to a residual stream and share one self-attention bias.

Raffel et al. 2020, arXiv:1910.10683, section 2.1: the norm precedes each layer, outside the residual path.

Legend: B batch, L tokens in this stack, S tokens per source, H heads, Q queries, K keys, M = d_model.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from architectures.t5.attention import Attention, RelativePositionBias, causal_bias, padding_bias
from architectures.t5.config import T5Config
from architectures.t5.dropout import Dropout
from architectures.t5.feed_forward import FeedForward, GatedFeedForward
from architectures.t5.norm import RMSNorm, compute_dtype


class Block(nn.Module):
    """Self-attention, cross-attention (decoder only) and feed-forward layer, each after a norm and added to its input.

    Args:
        config: Sizes and other fields of the model.
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
        """Return the residual stream after this block, [B, L, M]; the biases are those of `Attention`."""
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
    """Attention weights of one forward pass through a stack, one float32 tensor per block.

    Args:
        cross_only: Whether to leave out self-attention, whose weights take much memory.

    Attributes:
        self_attention: Self-attention weights, [B, H, L, L] each; None with `cross_only`.
        cross_attention: Cross-attention weights, [B, H, L, S] each; empty for an encoder.
    """

    def __init__(self, cross_only: bool = False) -> None:
        self.self_attention: list[Tensor] | None = None if cross_only else []
        self.cross_attention: list[Tensor] = []


class Stack(nn.Module):
    """Encoder or decoder: embedded tokens [B, L, M] -> normalised hidden states [B, L, M].

    Args:
        config: Sizes and other fields of the model.
        is_decoder: Whether self-attention is causal and cross-attention reads a source.
        activation_checkpointing: Whether training keeps only each block's input and recomputes the rest in the backward
            pass: the memory of one block instead of all, for a third more computation.
    """

    def __init__(self, config: T5Config, is_decoder: bool, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.is_decoder = is_decoder
        self.activation_checkpointing = activation_checkpointing
        depth = config.decoder_depth if is_decoder else config.num_layers
        self.position_bias = RelativePositionBias(config, bidirectional=not is_decoder)
        self.blocks = nn.ModuleList(Block(config, is_decoder) for _ in range(depth))
        self.final_norm = RMSNorm(config)
        self.embedding_dropout = Dropout(config.dropout_rate)
        self.output_dropout = Dropout(config.inner_dropout_rate)

    def forward(
        self,
        x_BLM: Tensor,
        mask_BL: Tensor | None,
        memory_BSM: Tensor | None = None,
        memory_mask_BS: Tensor | None = None,
        record: AttentionRecord | None = None,
    ) -> Tensor:
        """Run all blocks and the final norm.

        Args:
            x_BLM: Embedded tokens.
            mask_BL: True (or nonzero) at real tokens; if None, all are real.
            memory_BSM: The encoder's output; for a decoder only.
            memory_mask_BS: True (or nonzero) at real tokens of the source; for a decoder only.
            record: If given, attention weights are appended to it.

        Raises:
            ValueError: The computation runs in float16.
        """
        dtype = check_dtype(x_BLM)
        bias = self.self_attention_bias(x_BLM.shape[1], mask_BL).to(dtype)
        memory_bias_B11S = None if memory_mask_BS is None else padding_bias(memory_mask_BS).to(dtype)

        x_BLM = self.embedding_dropout(x_BLM)
        for block in self.blocks:
            if self.activation_checkpointing and self.training and torch.is_grad_enabled():
                x_BLM = checkpoint(block, x_BLM, bias, memory_BSM, memory_bias_B11S, use_reentrant=False)
            else:
                x_BLM = block(x_BLM, bias, memory_BSM, memory_bias_B11S, record)
        return self.output_dropout(self.final_norm(x_BLM))

    def self_attention_bias(self, length: int, mask_BL: Tensor | None) -> Tensor:
        """Return the sum of position bias and masks for all blocks: [B, H, L, L], or [1, H, L, L] without a mask."""
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
            "T5 cannot run in float16, because outputs of its feed-forward layers exceed 65,504, the largest float16; "
            "use bfloat16 (precision: bf16-mixed) or float32 (precision: 32-true)"
        )
    return dtype
