"""Batches by tokens: every pair once, within the budget, with little padding, and enough for each process."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.text.bucketing import bucket_pairs, bucket_pairs_into, round_up


def lengths(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths of sources and targets like those of translation: similar, and some far longer than most."""
    generator = np.random.default_rng(seed)
    sources = generator.gamma(6.0, 3.0, size).astype(np.int64) + 3
    return sources, np.maximum(2, sources + generator.integers(-4, 6, size))


def padded_lengths(size: int, seed: int = 0, multiple: int = 8) -> tuple[np.ndarray, np.ndarray]:
    sources, targets = lengths(size, seed)
    return round_up(sources, multiple), round_up(targets, multiple)


def tokens(sources: np.ndarray, targets: np.ndarray, batch: np.ndarray) -> int:
    return len(batch) * int(sources[batch].max() + targets[batch].max())


def test_lengths_are_rounded_up() -> None:
    assert round_up(np.array([0, 1, 7, 8, 9]), 8).tolist() == [0, 8, 8, 8, 16]
    assert [round_up(length, 3) for length in (0, 1, 3, 4)] == [0, 3, 3, 6]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [4, 5, 7, 60, 3001])
def test_every_pair_is_used_once_within_the_budget_by_all_ranks(world_size: int, size: int) -> None:
    sources, targets = padded_lengths(size)
    steps = bucket_pairs(sources, targets, 400, world_size)
    assert sorted(np.concatenate(steps).tolist()) == list(range(size))
    for step in steps:
        batches = [step[rank::world_size] for rank in range(world_size)]
        assert min(len(batch) for batch in batches) >= 1
        assert max(len(batch) for batch in batches) - min(len(batch) for batch in batches) <= 1
        for batch in batches:
            assert tokens(sources, targets, batch) <= 400 or len(batch) == 1 or len(step) < 2 * world_size


@pytest.mark.parametrize(("multiple", "most_padding"), [(8, 0.22), (4, 0.12), (1, 0.04)])
def test_there_is_little_padding_and_batches_are_full(multiple: int, most_padding: float) -> None:
    sources, targets = lengths(20_000)
    long, wide = padded_lengths(20_000, multiple=multiple)
    steps = bucket_pairs(long, wide, 4096)
    size = sum(tokens(long, wide, step) for step in steps)
    assert 1 - (sources.sum() + targets.sum()) / size < most_padding
    assert size / (4096 * len(steps)) > 0.95


def test_rounding_up_to_8_gives_few_shapes() -> None:
    sources, targets = padded_lengths(20_000)
    shapes = {(sources[step].max(), targets[step].max()) for step in bucket_pairs(sources, targets, 4096)}
    assert len(shapes) < 40


def test_a_pair_over_the_budget_is_a_batch_by_itself() -> None:
    steps = bucket_pairs(np.array([8, 96, 8, 88]), np.array([8, 96, 8, 88]), 64)
    assert [step.tolist() for step in steps] == [[0, 2], [3], [1]]


def test_fewer_pairs_than_processes_form_one_step() -> None:
    assert [step.tolist() for step in bucket_pairs(np.full(3, 8), np.full(3, 8), 64, 4)] == [[0, 1, 2]]
    assert bucket_pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), 64) == []


def test_shapes_do_not_depend_on_the_order_but_neighbours_do() -> None:
    sources, targets = padded_lengths(3000)
    first = bucket_pairs(sources, targets, 1000)
    order = np.random.default_rng(1).permutation(3000)
    second = [order[step] for step in bucket_pairs(sources[order], targets[order], 1000)]
    assert [len(step) for step in first] == [len(step) for step in second]
    for one, other in zip(first, second, strict=True):
        assert sorted(zip(sources[one], targets[one], strict=True)) == sorted(
            zip(sources[other], targets[other], strict=True)
        )
    assert sum(set(one.tolist()) == set(other.tolist()) for one, other in zip(first, second, strict=True)) < 20


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("more", [-3, 0, 3])
def test_epochs_with_other_lengths_can_have_the_same_number_of_steps(world_size: int, more: int) -> None:
    free = bucket_pairs(*padded_lengths(2000), 600, world_size)
    unforced = bucket_pairs_into(*padded_lengths(2000), 600, world_size, None)
    assert [step.tolist() for step in unforced] == [step.tolist() for step in free]
    number = len(free) + more
    for seed in range(8):
        sources, targets = padded_lengths(2000, seed)
        steps = bucket_pairs_into(sources, targets, 600, world_size, number)
        assert len(steps) == number
        assert sorted(np.concatenate(steps).tolist()) == list(range(2000))
        assert min(len(step) for step in steps) >= world_size
        assert max(tokens(sources, targets, step[::world_size]) for step in steps) < 600 * 1.15


@pytest.mark.parametrize("world_size", [1, 3])
def test_more_steps_than_there_can_be_are_not_made(world_size: int) -> None:
    steps = bucket_pairs_into(*padded_lengths(100), 600, world_size, 10_000)
    assert sorted(np.concatenate(steps).tolist()) == list(range(100))
    assert 100 // (2 * world_size) <= len(steps) <= 100 // world_size
