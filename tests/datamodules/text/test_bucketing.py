"""Batches by tokens: everything once, within the budget, little padding, ranks in step."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.text.bucketing import cut_batches, cut_into, draw_examples, padded, shuffled_steps
from utils.random_streams import numpy_generator


def lengths(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sources and targets like those of translation: alike, and some far longer than most."""
    generator = numpy_generator(seed)
    sources = generator.gamma(6.0, 3.0, size).astype(np.int64) + 3
    return sources, np.maximum(2, sources + generator.integers(-4, 6, size))


def tokens(sources: np.ndarray, targets: np.ndarray, batch: np.ndarray) -> int:
    return len(batch) * int(sources[batch].max() + targets[batch].max())


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [4, 5, 7, 60, 3001])
def test_every_pair_once_within_the_budget_and_ranks_in_step(world: int, size: int) -> None:
    sources, targets = (padded(side, 8) for side in lengths(size))
    steps = cut_batches(sources, targets, 400, world)
    assert sorted(np.concatenate(steps).tolist()) == list(range(size))
    for step in steps:
        batches = [step[rank::world] for rank in range(world)]
        assert min(len(batch) for batch in batches) >= 1
        assert max(len(batch) for batch in batches) - min(len(batch) for batch in batches) <= 1
        for batch in batches:
            assert tokens(sources, targets, batch) <= 400 or len(batch) == 1 or len(step) < 2 * world


def test_padding_is_small_and_batches_full() -> None:
    sources, targets = lengths(20_000)
    for multiple, most_waste in ((8, 0.22), (4, 0.12), (1, 0.04)):
        long, wide = padded(sources, multiple), padded(targets, multiple)
        steps = cut_batches(long, wide, 4096)
        size = sum(tokens(long, wide, step) for step in steps)
        assert 1 - (sources.sum() + targets.sum()) / size < most_waste, multiple
        assert size / (4096 * len(steps)) > 0.95
    # What rounding up to 8 leaves: few shapes.
    assert (
        len(
            {(long[step].max(), wide[step].max()) for step in cut_batches(padded(sources, 8), padded(targets, 8), 4096)}
        )
        < 40
    )


def test_a_pair_over_the_budget_is_a_batch_of_its_own() -> None:
    steps = cut_batches(np.array([8, 96, 8, 88]), np.array([8, 96, 8, 88]), 64)
    assert [step.tolist() for step in steps] == [[0, 2], [3], [1]]


def test_fewer_pairs_than_processes_make_one_step() -> None:
    assert [step.tolist() for step in cut_batches(np.full(3, 8), np.full(3, 8), 64, 4)] == [[0, 1, 2]]
    assert cut_batches(np.zeros(0, np.int64), np.zeros(0, np.int64), 64) == []


def test_shapes_do_not_depend_on_the_order_but_neighbours_do() -> None:
    sources, targets = (padded(side, 8) for side in lengths(3000))
    first = cut_batches(sources, targets, 1000)
    order = numpy_generator(1).permutation(3000)
    second = [order[step] for step in cut_batches(sources[order], targets[order], 1000)]
    assert [len(step) for step in first] == [len(step) for step in second]
    for one, other in zip(first, second, strict=True):
        assert sorted(zip(sources[one], targets[one], strict=True)) == sorted(
            zip(sources[other], targets[other], strict=True)
        )
    assert sum(set(one.tolist()) == set(other.tolist()) for one, other in zip(first, second, strict=True)) < 20


@pytest.mark.parametrize("world", [1, 3])
def test_epochs_of_other_lengths_have_as_many_steps(world: int) -> None:
    sources, targets = (padded(side, 8) for side in lengths(2000))
    number = len(cut_batches(sources, targets, 600, world))
    for seed in range(1, 8):
        other = [padded(side, 8) for side in lengths(2000, seed)]
        steps = cut_into(other[0], other[1], 600, world, number)
        assert len(steps) == number and sorted(np.concatenate(steps).tolist()) == list(range(2000))
        assert min(len(step) for step in steps) >= world
        assert max(tokens(other[0], other[1], step[::world]) for step in steps) < 600 * 1.15
    fewer = cut_into(sources[:100], targets[:100], 600, world, 10_000)  # more than there can be
    assert sorted(np.concatenate(fewer).tolist()) == list(range(100)) and len(fewer) <= 100 // world


def test_steps_are_shuffled_by_seed_and_epoch_alone() -> None:
    steps = list(np.arange(50).reshape(50, 1))
    orders = {
        (seed, epoch): np.concatenate(shuffled_steps(steps, seed=seed, epoch=epoch)).tolist()
        for seed in range(2)
        for epoch in range(2)
    }
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4
    assert np.concatenate(shuffled_steps(steps, seed=1, epoch=1)).tolist() == orders[1, 1]


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.5, 1.0, 2.0, 2.5])
def test_weights(weight: float) -> None:
    counts, seen = np.zeros(20, int), set()
    for epoch in range(10):
        drawn = draw_examples(20, weight, seed=3, epoch=epoch, part=1)
        assert len(drawn.positions) == round(20 * weight)
        counts += np.bincount(drawn.positions, minlength=20)
        assert counts.max() - counts.min() <= 1  # none a second time ahead of another
        seen |= set(zip(drawn.cycles.tolist(), drawn.positions.tolist(), strict=True))
    assert (counts == round(10 * weight)).all()
    assert len(seen) == counts.sum()  # no (cycle, position) twice: no noise twice
    again = draw_examples(20, weight, seed=3, epoch=9, part=1)
    assert np.array_equal(again.positions, drawn.positions) and np.array_equal(again.cycles, drawn.cycles)
    one, other = (draw_examples(200, weight, seed=seed, epoch=9).positions for seed in (3, 4))
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, draw_examples(200, weight, seed=3, epoch=9, part=1).positions)


def test_weight_1_is_each_example_once_an_epoch() -> None:
    drawn = draw_examples(50, 1.0, seed=0, epoch=4)
    assert sorted(drawn.positions.tolist()) == list(range(50)) and set(drawn.cycles.tolist()) == {4}
    assert draw_examples(3, 0.01, seed=0, epoch=5).positions.shape == (1,)
