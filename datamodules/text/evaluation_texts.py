"""Texts for validation, test or prediction: their ids, and the texts themselves for scores and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.text.bucketing import bucket_pairs, round_up
from datamodules.text.collation import collate
from datamodules.text.token_table import TokenTable
from utils.batches import Seq2SeqBatch


class EvaluationTexts(NamedTuple):
    """Examples to evaluate on.

    Attributes:
        source_ids: Ids of the sources.
        target_ids: Ids of the targets, for the loss; empty rows in prediction.
        sources: The sources without prefix.
        references: The references of each source; empty in prediction.
        places: Position of each example in its split, or number of its line in a file, int64 [N].
    """

    source_ids: TokenTable
    target_ids: TokenTable
    sources: list[str]
    references: list[tuple[str, ...]]
    places: np.ndarray

    def batches(self, tokens: int, multiple: int) -> list[Tensor]:
        """Return the rows of each batch, int64, the longest texts first.

        Args:
            tokens: Maximum number of tokens in a batch.
            multiple: Lengths are padded to a multiple of it.
        """
        sources, targets = (round_up(ids.lengths(), multiple) for ids in (self.source_ids, self.target_ids))
        # The lengths of texts to generate are unknown: assume those of their sources.
        steps = bucket_pairs(sources, targets if targets.any() else sources, tokens)
        return [torch.from_numpy(step.copy()) for step in reversed(steps)]

    def numbered_as_in(self, batches: Sequence[Tensor]) -> EvaluationTexts:
        """Return the same texts with the places in which the batches have them."""
        places = np.empty_like(self.places)
        places[torch.cat(list(batches)).numpy()] = np.arange(len(places))
        return self._replace(places=places)

    def collate(self, rows: Tensor, multiple: int) -> Seq2SeqBatch:
        """Return a batch of some rows, int64, padded to a multiple of a length."""
        numbers = rows.tolist()
        return collate(
            [(self.source_ids.row(number), self.target_ids.row(number)) for number in numbers],
            torch.from_numpy(self.places[rows.numpy()]),
            multiple,
            [self.sources[number] for number in numbers],
            [self.references[number] for number in numbers] if self.references else [],
        )


def join_texts(parts: list[EvaluationTexts], *, interleave: bool) -> EvaluationTexts:
    """Join the texts of several tasks: task after task or, if `interleave`, one example of each task in turn.

    The places of the result number the joined examples in that order.
    """
    turns = np.concatenate([part.places for part in parts])
    order = np.argsort(turns, kind="stable") if interleave else np.arange(len(turns))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return EvaluationTexts(
        TokenTable.join([part.source_ids for part in parts]),
        TokenTable.join([part.target_ids for part in parts]),
        [source for part in parts for source in part.sources],
        [reference for part in parts for reference in part.references],
        places,
    )
