"""How a text model decodes: in which precision, and the sources of several batches together."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from utils.batches import GeneratedText, Seq2SeqBatch

DecodePrecision = Literal["auto", "fp32", "bf16"]

Decode = Callable[[Tensor, Tensor], tuple[list[str], list[float]]]
"""Function of sources [B, S] and their mask [B, S] that returns a text and its score for each."""

TOKENS_TOGETHER = 2**14
"""Number of source tokens, with padding, from which waiting sources are decoded."""


def decode_context(precision: DecodePrecision, weights: Tensor) -> AbstractContextManager[object]:
    """Return the context in which to decode.

    Args:
        precision: `bf16`; `fp32`; or `auto`, which is the precision that is on already.
        weights: Some of the network's weights.

    Raises:
        ValueError: It is `fp32`, but the weights are not.
    """
    if precision == "auto":
        return nullcontext()
    if precision == "fp32" and weights.dtype != torch.float32:
        raise ValueError(
            f"model.decode_precision is fp32, but the weights are {str(weights.dtype).removeprefix('torch.')}, as "
            "trainer.precision says; pass --model.decode_precision auto"
        )
    return torch.autocast(weights.device.type, torch.bfloat16, enabled=precision == "bf16")


class WaitingSources:
    """Sources that wait for those of other batches: a few large batches are decoded faster than many small ones."""

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []
        self.masks: list[Tensor] = []
        self.examples: list[tuple[int, str, tuple[str, ...]]] = []

    def add(self, batch: Seq2SeqBatch, chosen: Tensor) -> None:
        """Add the rows of a batch where `chosen`, bool [B], is true."""
        rows = chosen.nonzero()[:, 0]
        self.tokens.append(batch.input_ids[rows])
        self.masks.append(batch.attention_mask[rows])
        for row, index in zip(rows.tolist(), batch.index[rows].tolist(), strict=True):
            self.examples.append((index, batch.sources[row], tuple(batch.references[row])))

    def decode(self, decode: Decode, last: bool) -> list[GeneratedText]:
        """Decode all waiting sources if these are the last or enough; otherwise return nothing."""
        if not self.examples or not (last or sum(part.numel() for part in self.tokens) >= TOKENS_TOGETHER):
            return []
        hypotheses, scores = decode(_stack(self.tokens), _stack(self.masks))
        texts = zip(self.examples, hypotheses, scores, strict=True)
        generated = [GeneratedText(*example, hypothesis, score) for example, hypothesis, score in texts]
        self.clear()
        return generated

    def clear(self) -> None:
        """Forget all waiting sources."""
        self.tokens, self.masks, self.examples = [], [], []


def is_last(batch_idx: int, num_batches: list[int | float]) -> bool:
    """Return whether a batch may be the last of the first dataloader, whose number of batches may be infinite."""
    return num_batches[0] in (batch_idx + 1, math.inf)


def _stack(parts: list[Tensor]) -> Tensor:
    """Return matrices one below the other, padded on the right with 0 to the same width."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, width - part.shape[1])) for part in parts])
