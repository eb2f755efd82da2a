"""The order of images in training: every one once, shared by the ranks."""

from __future__ import annotations

import pytest
import torch

from datamodules.images.order import training_batches


def test_21938_training_order_depends_only_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return training_batches(100, 10, seed=seed, epoch=epoch, rank=0, world_size=1).flatten().tolist()

    first = order(3, 4)
    torch.rand(3)
    assert order(3, 4) == first
    assert sorted(first) == list(range(100))
    assert first != sorted(first)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("world_size", range(1, 6))
def test_ranks_share_an_epoch_without_overlap(world_size: int) -> None:
    ranks = [training_batches(103, 7, seed=0, epoch=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {103 // (7 * world_size)}
    assert all(len(batch) == 7 for batches in ranks for batch in batches)
    seen = torch.cat([batch for batches in ranks for batch in batches])
    assert len(seen.unique()) == len(seen) == 103 // (7 * world_size) * 7 * world_size
    # The batches of a step are together what one process would take as one batch.
    alone = training_batches(103, 7 * world_size, seed=0, epoch=2, rank=0, world_size=1).flatten()
    together = torch.cat([ranks[rank][step] for step in range(len(ranks[0])) for rank in range(world_size)])
    assert torch.equal(alone, together)


def test_fewer_examples_than_a_batch_form_one_small_batch() -> None:
    ranks = [training_batches(11, 50, seed=0, epoch=0, rank=rank, world_size=2) for rank in range(2)]
    assert [[len(batch) for batch in batches] for batches in ranks] == [[5], [5]]
    assert len(torch.cat([*ranks[0], *ranks[1]]).unique()) == 10
    with pytest.raises(ValueError, match="training set has 11 examples, fewer than the 12 processes"):
        training_batches(11, 50, seed=0, epoch=0, rank=0, world_size=12)
