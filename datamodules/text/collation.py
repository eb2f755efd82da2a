"""Collation: pairs of token ids as one batch of padded tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from datamodules.text.bucketing import round_up
from datamodules.text.training_pairs import Pair
from utils.batches import IGNORED, Seq2SeqBatch
from utils.tokenizer_files import PAD_ID


def collate(
    pairs: list[Pair],
    index: Tensor,
    multiple: int,
    sources: Sequence[str] = (),
    references: Sequence[tuple[str, ...]] = (),
    step_tokens: int = 0,
) -> Seq2SeqBatch:
    """Return a batch of pairs, padded to the longest source and target, both rounded up to a multiple of `multiple`.

    Without pairs, all of its tensors are empty.

    `index`, `sources`, `references` and `step_tokens` are the fields of `Seq2SeqBatch` with the same names.
    """
    input_ids = _pad([source for source, _ in pairs], PAD_ID, multiple)
    lengths = torch.tensor([len(source) for source, _ in pairs], dtype=torch.int64)
    mask = torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)
    labels = _pad([target for _, target in pairs], IGNORED, multiple)
    return Seq2SeqBatch(input_ids, mask, labels, index, list(sources), list(references), step_tokens)


def _pad(rows: list[np.ndarray], value: int, multiple: int) -> Tensor:
    """Return rows as int64 [B, W], padded with `value` to the length of the longest, rounded up to `multiple`."""
    width = round_up(max((len(row) for row in rows), default=0), multiple)
    padded = np.full((len(rows), width), value, np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return torch.from_numpy(padded)
