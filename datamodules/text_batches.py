"""Pairs of texts as one batch of tensors.

Legend of shapes: B pairs of a batch, S tokens of the longest source, T of the longest target, both rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.text_pairs import Pair
from datamodules.token_batches import padded
from datamodules.tokenization import PAD_ID

IGNORED = -100


class Seq2SeqBatch(NamedTuple):
    """Pairs of texts.

    Attributes:
        input_ids: Prefix, source and end of sequence, int64 [B, S], filled up with 0.
        attention_mask: True at tokens, bool [B, S].
        labels: Target and end of sequence, int64 [B, T], filled up with -100; [B, 0] in prediction.
        index: Place of each example in its split (in prediction: number of its line, from 0), int64 [B]; in training
            the number of the pair in the epoch's plan.
        sources: The sources without prefix; empty in training.
        references: What each should become; empty in training and prediction.
        step_tokens: Target tokens of the whole optimizer step this batch is part of: over all processes, and all
            batches accumulated. 0 but in training.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # hides a method of tuples
    sources: list[str]
    references: list[tuple[str, ...]]
    step_tokens: int


def batch_of(
    pairs: list[Pair],
    index: Tensor,
    multiple: int,
    sources: Sequence[str] = (),
    references: Sequence[tuple[str, ...]] = (),
    step_tokens: int = 0,
) -> Seq2SeqBatch:
    """A batch of these pairs, lengths rounded up to a multiple; the rest is as `Seq2SeqBatch` says."""
    input_ids = _filled([source for source, _ in pairs], PAD_ID, multiple)
    lengths = torch.tensor([len(source) for source, _ in pairs])
    mask = torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)
    labels = _filled([target for _, target in pairs], IGNORED, multiple)
    return Seq2SeqBatch(input_ids, mask, labels, index, list(sources), list(references), step_tokens)


def _filled(rows: list[np.ndarray], fill: int, multiple: int) -> Tensor:
    """The rows as int64 [B, W], filled up to the longest's length rounded up to `multiple`."""
    width = int(padded(np.array(max(len(row) for row in rows)), multiple))
    filled = np.full((len(rows), width), fill, np.int64)
    for place, row in enumerate(rows):
        filled[place, : len(row)] = row
    return torch.from_numpy(filled)
