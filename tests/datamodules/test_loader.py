"""The loader of batches: it starts where the trainer is, and asks when the first batch is requested."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datamodules.loader import BatchLoader, evaluation_loader, evaluation_order, require_examples, training_position
from tests.datamodules.trainers import fake_trainer


def loader_at(position: list[int]) -> BatchLoader[tuple[list[int], int, int]]:
    """A loader of epochs that have one batch more each time; `position` is read when it asks."""

    def plan(epoch: int) -> list[Tensor]:
        return [torch.tensor([10 * epoch + step]) for step in range(3 + epoch)]

    def fetch(index: Tensor, epoch: int, step: int) -> tuple[list[int], int, int]:
        return index.tolist(), epoch, step

    return BatchLoader(plan, fetch, lambda: (position[0], position[1]))


def test_a_loader_yields_the_rest_of_the_current_epoch() -> None:
    position = [0, 0]
    loader = loader_at(position)
    assert list(loader) == [([0], 0, 0), ([1], 0, 1), ([2], 0, 2)]
    assert len(loader) == 3
    position[:] = [2, 3]
    assert list(loader) == [([23], 2, 3), ([24], 2, 4)]
    assert len(loader) == 5  # of the whole epoch: Lightning counts the batches done


def test_the_position_is_read_at_the_first_batch() -> None:
    position = [0, 0]
    batches = iter(loader_at(position))
    position[:] = [1, 3]  # as Lightning restores its counters after it has called iter()
    assert list(batches) == [([13], 1, 3)]


def test_a_loader_without_position_starts_at_the_beginning() -> None:
    loader = BatchLoader(lambda epoch: [torch.tensor(epoch)], lambda index, epoch, step: (int(index), epoch, step))
    assert list(loader) == list(loader) == [(0, 0, 0)]


def test_the_position_is_that_of_the_fit_loop() -> None:
    assert training_position(None) == (0, 0)
    assert training_position(fake_trainer(epoch=3, done=7)) == (3, 7)
    assert training_position(fake_trainer(epoch=3, done=7, overfit_batches=2)) == (0, 7)


def test_an_evaluation_deals_whole_batches_and_fills_up_with_empty_ones() -> None:
    batches = list(torch.arange(10).split(4))
    shares = [list(evaluation_loader(batches, Tensor.tolist, fake_trainer(rank, 2))) for rank in range(2)]
    assert shares == [[[0, 1, 2, 3], [8, 9]], [[4, 5, 6, 7], []]]
    assert list(evaluation_loader(batches, Tensor.tolist, None)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(evaluation_loader(batches, Tensor.tolist, fake_trainer(1, 2))) == 2


def test_an_evaluation_of_some_batches_has_them_from_everywhere() -> None:
    assert evaluation_order(5, "val", None).tolist() == list(range(5))
    for trainer in (fake_trainer(), fake_trainer(limit_test_batches=0.5)):
        assert evaluation_order(5, "val", trainer).tolist() == list(range(5))
    limited = fake_trainer(limit_val_batches=1)
    order = evaluation_order(1000, "val", limited)
    assert sorted(order.tolist()) == list(range(1000))
    assert torch.equal(evaluation_order(1000, "val", limited), order)  # at each validation
    assert 400 < order[:100].float().mean() < 600


def test_an_evaluation_needs_an_example() -> None:
    require_examples("test", 1)
    with pytest.raises(ValueError, match="the test set has no examples"):
        require_examples("test", 0)
