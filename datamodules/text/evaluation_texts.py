"""Texts for validation, test or prediction: their ids, and the texts themselves for scores and reports."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from datamodules.text.token_table import TokenTable


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
