"""Incremental decoder of T5 whose steps are all alike, so that a GPU repeats one of them by itself.

Legend as in `incremental.py`, and here C = T P for all T tokens that a hypothesis may have.
"""

import torch
from torch import Tensor

from architectures.t5.incremental import IncrementalDecoder, rounded_up
from architectures.t5.repeated_step import RepeatedStep

FEWER = 8
"""Finished sources are dropped once at most one in this many is left: another graph costs as much as many replays."""


class FixedStepDecoder(IncrementalDecoder):
    """`IncrementalDecoder` with steps of one shape, captured as a CUDA graph and replayed.

    A step of decoding has so little to compute that a GPU waits for its hundreds of launches. Here every step reads all
    places of the caches, and the bias hides those not yet filled. The position is a tensor that the step advances;
    tokens and ancestors are copied into the tensors that the graph reads, never replaced by others. Another number of
    sources needs another graph.
    """

    def _places(self, inputs: int) -> int:
        return rounded_up(inputs)  # rows of a multiple of 16 bytes suit a GPU's matrix products

    def _begin(self) -> None:
        """Allocate what the steps for the present sources read and write."""
        if not self.length:
            self.self_kv_L2NCD.zero_()  # a weight of 0 does not hide an infinite value
        self.self_kv_L2NCD = self.self_kv_L2NCD.contiguous()  # deterministic `index_copy_` would copy a view whole
        self.time_C = torch.arange(self.capacity, device=self.device).repeat_interleave(self.group_size)
        self.position_1 = torch.full((1,), self.length, device=self.device)
        self.token_BK = torch.zeros(self.num_sources, self.num_hypotheses, dtype=torch.long, device=self.device)
        self.repeated = RepeatedStep(self.device)

    def step(self, token_BK: Tensor) -> Tensor:
        """Read the next token of each hypothesis and return logits_BKV, which the next step overwrites."""
        self.token_BK.copy_(token_BK)
        self.length += 1
        return self.repeated(self._fixed_step)

    def _fixed_step(self) -> Tensor:
        logits_BKV = self._logits(self.token_BK)
        self.position_1 += 1
        return logits_BKV

    def _self_attention_bias(self) -> Tensor:
        """Return the offsets for all places, -inf at those not yet filled or of other hypotheses: [N, P, C]."""
        distance_C = self.time_C - self.position_1
        offset_GH1C = self.offset_GH1C.index_select(3, (distance_C.clamp(max=0) + self.capacity - 1) * self.group_size)
        hidden_C = distance_C > 0
        if self.group_size == 1:
            return offset_GH1C.masked_fill(hidden_C, -torch.inf).flatten(0, 1)
        self.ancestor_GPT.index_copy_(2, self.position_1, self.place_P[:, None].expand(len(self.ancestor_GPT), -1, 1))
        is_other_GPTP = self.ancestor_GPT[:, :, :, None] != self.place_P
        return offset_GH1C.masked_fill((is_other_GPTP.flatten(2) | hidden_C)[:, None], -torch.inf).flatten(0, 1)

    def _append(self, cache_2NCD: Tensor, kv_2NPD: Tensor) -> Tensor:
        """Write keys and values into the next places of a block's cache, and return all places."""
        return cache_2NCD.index_copy_(2, self.position_1 * self.group_size + self.place_P, kv_2NPD)

    def follow(self, parent_BK: Tensor) -> None:
        """Let hypotheses continue others; see `IncrementalDecoder.follow`."""
        self.ancestor_GPT.copy_(self.ancestor_GPT.take_along_dim(parent_BK[:, :, None], 1))

    def _gains_by_keeping(self, kept: int) -> bool:
        return FEWER * kept <= self.num_sources
