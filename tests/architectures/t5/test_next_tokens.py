"""The best tokens against `topk` over the whole vocabulary."""

import pytest
import torch

from architectures.t5.next_tokens import CHUNK, best_tokens


@pytest.mark.parametrize("vocab_size", [5, CHUNK, 10 * CHUNK - 1, 10 * CHUNK, 125 * CHUNK])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_best_tokens_are_those_of_topk(vocab_size: int, count: int) -> None:
    score = torch.randperm(6 * vocab_size, generator=torch.Generator().manual_seed(0)).view(2, 3, -1).float()
    score[0, 0, : vocab_size // 2] = -torch.inf
    expected = score.topk(min(count, vocab_size))
    values, tokens = best_tokens(score, count)
    assert torch.equal(values, expected.values)
    finite = values.isfinite()
    assert torch.equal(tokens[finite], expected.indices[finite])


def test_the_best_tokens_may_share_a_chunk() -> None:
    score = torch.zeros(1, 1, 20 * CHUNK)
    score[0, 0, 3 * CHUNK + 5 : 3 * CHUNK + 9] = torch.tensor([4.0, 2.0, 3.0, 1.0])
    assert best_tokens(score, 4)[1].tolist() == [[[3 * CHUNK + 5, 3 * CHUNK + 7, 3 * CHUNK + 6, 3 * CHUNK + 8]]]
