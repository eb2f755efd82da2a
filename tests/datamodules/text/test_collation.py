"""Collation: padding and masks, by hand."""

from __future__ import annotations

import numpy as np
import torch

from datamodules.text.collation import collate

PAIRS = [
    (np.array([5, 6, 7, 1], np.int32), np.array([8, 1], np.int32)),
    (np.array([9, 1], np.int32), np.array([2, 3, 4, 5, 1], np.int32)),
]


def test_pairs_are_padded_to_the_longest() -> None:
    batch = collate(PAIRS, torch.tensor([3, 8]), 1)
    assert batch.input_ids.tolist() == [[5, 6, 7, 1], [9, 1, 0, 0]]
    assert batch.attention_mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.labels.tolist() == [[8, 1, -100, -100, -100], [2, 3, 4, 5, 1]]
    assert batch.input_ids.dtype == batch.labels.dtype == torch.int64
    assert batch.attention_mask.dtype == torch.bool


def test_lengths_are_rounded_up_to_a_multiple() -> None:
    batch = collate(PAIRS, torch.tensor([3, 8]), 3)
    assert batch.input_ids.tolist() == [[5, 6, 7, 1, 0, 0], [9, 1, 0, 0, 0, 0]]
    assert batch.attention_mask.sum(1).tolist() == [4, 2]
    assert batch.labels.shape == (2, 6)
    assert (batch.labels != -100).sum(1).tolist() == [2, 5]


def test_a_token_equal_to_the_padding_is_not_masked() -> None:
    batch = collate([(np.array([0, 1], np.int32), np.array([1], np.int32))], torch.tensor([0]), 4)
    assert batch.attention_mask.tolist() == [[True, True, False, False]]


def test_without_targets_the_labels_are_empty() -> None:
    nothing = np.zeros(0, np.int32)
    batch = collate([(source, nothing) for source, _ in PAIRS], torch.tensor([0, 1]), 4)
    assert batch.labels.shape == (2, 0)


def test_the_other_fields_are_passed_on() -> None:
    index = torch.tensor([3, 8])
    batch = collate(PAIRS, index, 1, ["a", "b"], [("c",), ("d", "e")], 17)
    assert batch.index is index
    assert (batch.sources, batch.references, batch.step_tokens) == (["a", "b"], [("c",), ("d", "e")], 17)
    plain = collate(PAIRS, index, 1)
    assert (plain.sources, plain.references, plain.step_tokens) == ([], [], 0)
