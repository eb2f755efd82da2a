"""Incremental decoder of T5: one token at a time, with static caches.

Legend: B sources, K hypotheses per source, S tokens per source, T tokens per hypothesis, H heads, D = d_kv,
M = d_model, V = vocab_size, L blocks. In self-attention, G groups of P hypotheses (G P = B K) have C = T P places each.
N = B H or G H.
"""

import torch
from torch import Tensor

from architectures.t5.attention import padding_bias
from architectures.t5.decoding_weights import DecodingWeights


class IncrementalDecoder:
    """Decoder of K hypotheses for each of B sources, one token per hypothesis at a time, without dropout.

    Nothing is ever copied per hypothesis. Keys and values of a source are projected once: cross-attention has no
    positions, so the K hypotheses of a source are simply K queries. Keys and values of the hypotheses are appended to
    one block of memory, allocated once for `max_length` tokens. In a beam search the hypotheses of a source share their
    places there, and a mask limits each to its own ancestors.

    Args:
        weights: Layers of the decoder.
        memory_BSM: The encoder's output.
        mask_BS: True (or nonzero) at real tokens of the source.
        num_hypotheses: Number of hypotheses per source, K.
        max_length: Maximum length of a hypothesis in tokens, including the start token.
        branching: Whether a hypothesis may continue another of its source; see `follow`.

    Attributes:
        ancestor_GPT: `ancestor_GPT[g, p, t]` is the place, from 0 to P - 1, in which the token of step t of hypothesis
            p was written. The P hypotheses of a group write each step side by side, so that cache column t P + place
            belongs to hypothesis p if, and only if, the place is that one.
        place_P: The places, 0 to P - 1.
        offset_GH1C: Position bias of the last query, for all columns of the cache.
    """

    def __init__(
        self,
        weights: DecodingWeights,
        memory_BSM: Tensor,
        mask_BS: Tensor,
        num_hypotheses: int,
        max_length: int,
        branching: bool = False,
    ) -> None:
        config, dtype, device = weights.model.config, weights.attention_dtype, memory_BSM.device
        self.weights, self.config, self.device = weights, config, device
        self.num_hypotheses = num_hypotheses
        self.group_size = num_hypotheses if branching else 1
        self.capacity = self._places(max_length - 1)  # the last token is never an input
        self.length = 0

        self.source_length_B = source_lengths(mask_BS)
        memory_bias_BH1S = padding_bias(mask_BS).to(dtype).expand(-1, config.num_heads, -1, -1)
        self.memory_bias_N1S = memory_bias_BH1S.flatten(0, 1)
        self.memory_kv_L2NSD = weights.memory_keys_and_values(memory_BSM)

        num_groups = len(memory_BSM) * num_hypotheses // self.group_size
        shape = (len(weights.blocks), 2, num_groups * config.num_heads, self.capacity * self.group_size, config.d_kv)
        self.self_kv_L2NCD = torch.empty(shape, dtype=dtype, device=device)
        # The last query finds the offset of distance d at position d from the end; for earlier ones the same offsets
        # are truncated on the left.
        distance_T = torch.arange(1 - self.capacity, 1, device=device)
        offset_HT = weights.model.decoder.position_bias.values(distance_T).to(dtype)
        self.offset_GH1C = offset_HT.repeat_interleave(self.group_size, 1)[:, None].repeat(num_groups, 1, 1, 1)
        self.ancestor_GPT = torch.zeros(num_groups, self.group_size, self.capacity, dtype=torch.long, device=device)
        self.place_P = torch.arange(self.group_size, device=device)
        self._begin()

    def _places(self, inputs: int) -> int:
        """Return how many places a hypothesis has for so many inputs."""
        return inputs

    def _begin(self) -> None:
        """Prepare the steps for the present sources: at first, and when some have been dropped."""

    @property
    def num_sources(self) -> int:
        """Number of sources that have not been dropped, B."""
        return len(self.source_length_B)

    def step(self, token_BK: Tensor) -> Tensor:
        """Read the next token of each hypothesis and return logits_BKV of the token after it."""
        logits_BKV = self._logits(token_BK)
        self.length += 1
        return logits_BKV

    def _logits(self, token_BK: Tensor) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):  # the weights have its dtype already
            bias_NPC = self._self_attention_bias()
            x_BKM = self.weights.model.embedding(token_BK)
            for block, self_kv_2NCD, memory_kv_2NSD in zip(
                self.weights.blocks, self.self_kv_L2NCD, self.memory_kv_L2NSD, strict=True
            ):
                qkv_3NPD = self._split_heads(block.self_qkv(block.self_attention_norm(x_BKM)), 3, self.group_size)
                out_NPD = attend(qkv_3NPD[0], self._append(self_kv_2NCD, qkv_3NPD[1:]), bias_NPC)
                x_BKM = x_BKM + block.self_o(self._join_heads(out_NPD))
                q_1NKD = self._split_heads(block.cross_q(block.cross_attention_norm(x_BKM)), 1, self.num_hypotheses)
                out_NKD = attend(q_1NKD[0], memory_kv_2NSD, self.memory_bias_N1S)
                x_BKM = x_BKM + block.cross_o(self._join_heads(out_NKD))
                x_BKM = x_BKM + block.feed_forward(block.feed_forward_norm(x_BKM))
            return self.weights.logits(x_BKM)

    def _self_attention_bias(self) -> Tensor:
        """Return the offsets for the places filled after this step, -inf at those of other hypotheses: [N, P, C]."""
        seen = self.length + 1
        offset_GH1C = self.offset_GH1C[..., (self.capacity - seen) * self.group_size :]
        if self.group_size == 1:
            return offset_GH1C.flatten(0, 1)
        self.ancestor_GPT[:, :, self.length] = self.place_P
        is_ancestor_GPTP = self.ancestor_GPT[:, :, :seen, None] == self.place_P
        return offset_GH1C.where(is_ancestor_GPTP.flatten(2)[:, None], -torch.inf).flatten(0, 1)

    def _append(self, cache_2NCD: Tensor, kv_2NPD: Tensor) -> Tensor:
        """Write keys and values into the next places of a block's cache, and return all so far."""
        first = self.length * self.group_size
        seen = first + self.group_size
        cache_2NCD[:, :, first:seen] = kv_2NPD
        return cache_2NCD[:, :, :seen]

    def _split_heads(self, x_BKN: Tensor, parts: int, group_size: int) -> Tensor:
        """Split [B, K, parts H D] into queries, keys and values per group and head: [parts, N, group_size, D]."""
        x = x_BKN.to(self.weights.attention_dtype).view(-1, group_size, x_BKN.shape[-1])
        return self.weights.split_heads(x, parts).flatten(1, 2)

    def _join_heads(self, out: Tensor) -> Tensor:
        """Join the outputs per head and group, [N, ..., D], to [B, K, H D]."""
        out = out.unflatten(0, (-1, self.config.num_heads)).transpose(1, 2)
        return out.reshape(-1, self.num_hypotheses, self.config.num_heads * self.config.d_kv)

    def follow(self, parent_BK: Tensor) -> None:
        """Let hypotheses continue others.

        Args:
            parent_BK: Index, from 0 to K - 1, of the hypothesis of the same source that each continues.
        """
        self.ancestor_GPT = self.ancestor_GPT.take_along_dim(parent_BK[:, :, None], 1)

    def drop(self, done_B: Tensor) -> Tensor | None:
        """Drop sources for which `done_B` is true: the last of the others take their places.

        Returns:
            Indices of the kept sources in their new order, integers [B']; None if nothing changed, because none or too
            few are done or this step does not check.
        """
        if self.length % steps_between_looks(self.device):
            return None
        kept = int((~done_B).sum())
        if not self._gains_by_keeping(kept):
            return None
        hole = done_B[:kept].nonzero()[:, 0]
        order = torch.arange(kept, device=self.device)
        order[hole] = (~done_B[kept:]).nonzero()[:, 0] + kept

        filled = self.length * self.group_size
        self.self_kv_L2NCD = self._move(self.self_kv_L2NCD, order, hole, filled)
        self.ancestor_GPT = self.ancestor_GPT.unflatten(0, (self.num_sources, -1))[order].flatten(0, 1)
        self.offset_GH1C = self.offset_GH1C[: len(self.ancestor_GPT)]  # equal for all
        longest = rounded_up(int(self.source_length_B[order].max())) if kept else 0
        self.memory_kv_L2NSD = self._move(self.memory_kv_L2NSD[:, :, :, :longest], order, hole, longest)
        memory_bias_BH1S = self.memory_bias_N1S[..., :longest].unflatten(0, (self.num_sources, -1))
        self.memory_bias_N1S = memory_bias_BH1S[order].flatten(0, 1)
        self.source_length_B = self.source_length_B[order]
        self._begin()
        return order

    def _gains_by_keeping(self, kept: int) -> bool:
        """Return whether to drop all sources but this number."""
        return kept < self.num_sources

    def _move(self, cache: Tensor, order: Tensor, hole: Tensor, filled: int) -> Tensor:
        """Return the part of a cache [L, 2, N, ..., D] for the kept sources, after copying rows into the holes."""
        rows = cache.unflatten(2, (self.num_sources, -1))
        rows[:, :, hole, :, :filled] = rows[:, :, order[hole], :, :filled]
        return rows[:, :, : len(order)].flatten(2, 3)


def steps_between_looks(device: torch.device) -> int:
    """Return the number of steps between checks for finished sources; on devices other than a CPU, a check waits."""
    return 1 if device.type == "cpu" else 8


def rounded_up(length: int) -> int:
    """Return a length rounded up to a multiple of 16, so that a result is bitwise the same beside any other sources.

    Zeros change no sum, but kernels add what remains after their last whole vector in another order.
    """
    return -(-length // 16) * 16


def attend(q_NQD: Tensor, kv_2NKD: Tensor, bias: Tensor) -> Tensor:
    """Return the attention output [N, Q, D]; the bias broadcasts to [N, Q, K].

    For the few queries of a step this is faster than `scaled_dot_product_attention`: on a CPU 1.4 times in float32 and
    3 times in bfloat16.
    """
    k_NKD, v_NKD = kv_2NKD
    return torch.baddbmm(bias, q_NQD, k_NKD.transpose(1, 2)).softmax(-1) @ v_NKD


def source_lengths(mask_BS: Tensor) -> Tensor:
    """Return the length of each source in tokens, up to its last real one and at least 1, as integers [B]."""
    position_S = torch.arange(1, mask_BS.shape[1] + 1, device=mask_BS.device)
    return (mask_BS.bool() * position_S).amax(dim=1).clamp(min=1)
