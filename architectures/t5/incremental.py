"""Incremental decoder of T5: one token at a time, with static caches.

Legend: B sources, K hypotheses per source, N = B K, S tokens per source, T tokens per hypothesis, H heads, D = d_kv,
M = d_model, V = vocab_size.
"""

from typing import cast

import torch
from torch import Tensor

from architectures.t5.attention import Attention, padding_bias
from architectures.t5.model import T5
from architectures.t5.stack import Block, check_dtype


class IncrementalDecoder:
    """Decoder of K hypotheses for each of B sources, one token per hypothesis at a time, without dropout.

    Keys and values of a source are projected once and never copied per hypothesis: cross-attention has no positions, so
    the K hypotheses of a source are simply K queries. Keys and values of the hypotheses are in one block of memory,
    allocated once for `max_length` tokens.

    Args:
        model: Model in evaluation mode.
        memory_BSM: The encoder's output.
        mask_BS: True (or nonzero) at real tokens of the source.
        num_hypotheses: Number of hypotheses per source, K.
        max_length: Maximum length of a hypothesis in tokens, including the start token.
    """

    def __init__(self, model: T5, memory_BSM: Tensor, mask_BS: Tensor, num_hypotheses: int, max_length: int) -> None:
        self.model = model
        self.blocks = [cast(Block, block) for block in model.decoder.blocks]
        self.num_hypotheses = num_hypotheses
        dtype, device = check_dtype(memory_BSM), memory_BSM.device

        self.source_length_B = source_lengths(mask_BS)
        self.memory_bias_B11S = padding_bias(mask_BS).to(dtype)
        self.memory_kv = [block.cross_attention.keys_and_values(memory_BSM) for block in self.blocks]  # [B, H, S, D]

        # The last token is never an input. Its predecessor finds the offset of distance d at position d from the end;
        # for earlier queries the same offsets are truncated on the left.
        self.capacity = max_length - 1
        distances = torch.arange(1 - self.capacity, 1, device=device)
        self.offsets_1H1T = model.decoder.position_bias.values(distances)[None, :, None].to(dtype)
        shape = (len(self.blocks), len(memory_BSM) * num_hypotheses, model.config.num_heads, self.capacity)
        self.keys = torch.empty(*shape, model.config.d_kv, dtype=dtype, device=device)  # [blocks, N, H, T, D]
        self.values = torch.empty_like(self.keys)
        self.length = 0

    def step(self, token_BK: Tensor) -> Tensor:
        """Read the next token of each hypothesis and return logits_BKV of the token after it."""
        x_BKM = self.model.embedding(token_BK)
        for index, block in enumerate(self.blocks):
            h_BKM = block.self_attention_norm(x_BKM)
            x_BKM = x_BKM + self._self_attention(index, block.self_attention, h_BKM)
            h_BKM = block.cross_attention_norm(x_BKM)
            q_BHKD = block.cross_attention.queries(h_BKM)
            x_BKM = x_BKM + block.cross_attention.attend(q_BHKD, *self.memory_kv[index], self.memory_bias_B11S)
            x_BKM = x_BKM + block.feed_forward(block.feed_forward_norm(x_BKM))
        self.length += 1
        return self.model.logits(self.model.decoder.final_norm(x_BKM))

    def _self_attention(self, index: int, attention: Attention, h_BKM: Tensor) -> Tensor:
        h_N1M = h_BKM.flatten(0, 1).unsqueeze(1)
        k_NH1D, v_NH1D = attention.keys_and_values(h_N1M)
        seen = self.length + 1
        self.keys[index, :, :, self.length : seen] = k_NH1D
        self.values[index, :, :, self.length : seen] = v_NH1D
        out_N1M = attention.attend(
            attention.queries(h_N1M),
            self.keys[index, :, :, :seen],
            self.values[index, :, :, :seen],
            self.offsets_1H1T[..., self.capacity - seen :],
        )
        return out_N1M.view_as(h_BKM)

    def select(self, source: Tensor, parent_BK: Tensor | None = None) -> None:
        """Keep some of the sources, and reorder their hypotheses.

        Args:
            source: Indices of the sources to keep, in ascending order, integers [B'] below B.
            parent_BK: Index, from 0 to K - 1, of the hypothesis that each hypothesis of a kept source continues,
                integers [B', K]; if None, each continues itself.
        """
        num_sources, num_hypotheses = len(self.source_length_B), self.num_hypotheses
        if parent_BK is None:
            parent_BK = torch.arange(num_hypotheses, device=source.device).expand(len(source), -1)
        elif num_hypotheses == 1 and len(source) == num_sources:
            return
        row_N = (source[:, None] * num_hypotheses + parent_BK).flatten()
        self.keys = self._select_rows(self.keys, row_N)
        self.values = self._select_rows(self.values, row_N)
        if len(source) < num_sources:
            self._drop_sources(source)

    def _select_rows(self, cache: Tensor, row_N: Tensor) -> Tensor:
        filled = cache[:, :, :, : self.length].index_select(1, row_N)
        cache = cache[:, : len(row_N)]
        cache[:, :, :, : self.length] = filled
        return cache

    def _drop_sources(self, source: Tensor) -> None:
        """Keep only the given sources, truncated to the longest of them."""
        self.source_length_B = self.source_length_B[source]
        longest = int(self.source_length_B.max()) if len(source) else 0
        self.memory_bias_B11S = self.memory_bias_B11S[..., :longest].index_select(0, source)
        self.memory_kv = [
            (k_BHSD[:, :, :longest].index_select(0, source), v_BHSD[:, :, :longest].index_select(0, source))
            for k_BHSD, v_BHSD in self.memory_kv
        ]


def source_lengths(mask_BS: Tensor) -> Tensor:
    """Return the length of each source in tokens, up to its last real one and at least 1, as integers [B]."""
    position_S = torch.arange(1, mask_BS.shape[1] + 1, device=mask_BS.device)
    return (mask_BS.bool() * position_S).amax(dim=1).clamp(min=1)
