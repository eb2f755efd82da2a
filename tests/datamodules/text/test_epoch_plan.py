"""Epoch plans: each example as often as its weight says, the same number of steps, and a different order each epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datamodules.text.epoch_plan import TrainingPlan, draw_examples
from datamodules.text.training_pairs import Draws, Pair, TrainingPart


class Lengths(TrainingPart):
    """Pairs whose lengths depend on the example and the cycle; their ids are (task, cycle, position)."""

    def __init__(self, size: int, number: int = 0, weight: float = 1.0, change: int = 7) -> None:
        self.size = size
        self.number = number
        self.weight = weight
        self.change = change

    def __len__(self) -> int:
        return self.size

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        mixed = draws.positions * 31 + draws.cycles * self.change
        return 3 + mixed % 17, 2 + mixed % 13

    def pair(self, cycle: int, position: int) -> Pair:
        ids = np.array([self.number, cycle, position])
        return ids, ids


def plan(parts: list[TrainingPart] | None = None, seed: int = 0, world_size: int = 1) -> TrainingPlan:
    return TrainingPlan(parts or [Lengths(400)], 200, 4, seed, world_size)


def examples(plan: TrainingPlan, epoch: int) -> list[tuple[int, ...]]:
    """Return (task, cycle, position) of each pair of an epoch, in the order of its steps."""
    pairs = plan.pairs(epoch, np.concatenate(plan.epoch(epoch).steps))
    return [tuple(source.tolist()) for source, _ in pairs]


@pytest.mark.parametrize("weight", [0.1, 0.3, 0.5, 1.0, 2.0, 2.5])
def test_examples_are_drawn_as_often_as_their_weight_says(weight: float) -> None:
    counts, seen = np.zeros(20, int), set()
    for epoch in range(10):
        drawn = draw_examples(20, weight, seed=3, epoch=epoch, part=1)
        assert len(drawn.positions) == round(20 * weight)
        counts += np.bincount(drawn.positions, minlength=20)
        assert counts.max() - counts.min() <= 1  # none is repeated before the others
        seen |= set(zip(drawn.cycles.tolist(), drawn.positions.tolist(), strict=True))
    assert (counts == round(10 * weight)).all()
    assert len(seen) == counts.sum()  # no (cycle, position) is used twice: no random numbers are
    again = draw_examples(20, weight, seed=3, epoch=9, part=1)
    assert np.array_equal(again.positions, drawn.positions)
    assert np.array_equal(again.cycles, drawn.cycles)


def test_draws_depend_on_seed_and_task() -> None:
    one, other_seed, other_task = (
        draw_examples(200, 1.0, seed=seed, epoch=9, part=part).positions for seed, part in ((3, 0), (4, 0), (3, 1))
    )
    assert not np.array_equal(one, other_seed)
    assert not np.array_equal(one, other_task)


def test_with_weight_1_an_epoch_has_each_example_once() -> None:
    drawn = draw_examples(50, 1.0, seed=0, epoch=4)
    assert sorted(drawn.positions.tolist()) == list(range(50))
    assert set(drawn.cycles.tolist()) == {4}
    assert draw_examples(3, 0.01, seed=0, epoch=5).positions.shape == (1,)  # at least one


@pytest.mark.parametrize("world_size", [1, 3])
def test_each_pair_of_an_epoch_is_in_one_step(world_size: int) -> None:
    whole = plan(world_size=world_size)
    for epoch in (0, 1, 5):
        assert sorted(examples(whole, epoch)) == [(0, epoch, position) for position in range(400)]
        assert all(len(step) >= world_size for step in whole.epoch(epoch).steps)


def test_batches_keep_to_the_budget_and_targets_are_counted() -> None:
    whole = plan()
    part = Lengths(400)
    for epoch in (0, 3):
        current = whole.epoch(epoch)
        sources, targets = part.lengths(Draws(current.cycles, current.positions))
        for step, tokens in zip(current.steps, current.target_tokens, strict=True):
            assert tokens == targets[step].sum()
            width = -(-sources[step].max() // 4) * 4 - (-targets[step].max() // 4) * 4
            assert len(step) * width <= 200 * 1.05  # the budget is raised for epochs that need more steps


def test_tasks_are_mixed_by_weight() -> None:
    parts: list[TrainingPart] = [Lengths(200, 0), Lengths(300, 1, weight=0.5), Lengths(100, 2, weight=2.0)]
    whole = plan(parts)
    counts: Counter[tuple[int, int]] = Counter()
    for epoch in range(2):
        counts.update((task, position) for task, _, position in examples(whole, epoch))
    assert counts == {
        (task, position): times
        for task, size, times in ((0, 200, 2), (1, 300, 1), (2, 100, 4))
        for position in range(size)
    }
    tasks = [{int(task) for task in whole.epoch(0).parts[step]} for step in whole.epoch(0).steps]
    assert sum(len(each) > 1 for each in tasks) > len(tasks) * 0.9  # not one task per batch


def test_every_epoch_has_as_many_steps_as_the_first() -> None:
    whole = plan([Lengths(400, weight=0.7)])
    numbers = {len(whole.epoch(epoch).steps) for epoch in range(12)}
    assert len(numbers) == 1
    free = {len(plan([Lengths(400, weight=0.7)], seed=seed).epoch(0).steps) for seed in range(12)}
    assert len(free) > 1  # which chance alone would not give


def test_21938_the_order_depends_only_on_seed_and_epoch() -> None:
    orders = {(seed, epoch): examples(plan(seed=seed), epoch) for seed in (0, 1) for epoch in (0, 1, 2)}
    positions = {key: tuple(position for _, _, position in order) for key, order in orders.items()}
    assert len(set(positions.values())) == 6
    whole = plan(seed=1)
    assert examples(whole, 2) == orders[1, 2]
    assert examples(whole, 0) == orders[1, 0]  # in any order of the epochs


def test_steps_are_shuffled_and_neighbours_change() -> None:
    whole = plan([Lengths(400, change=0)])  # the same lengths in every epoch
    lengths = [
        int(Lengths(400).lengths(Draws(np.zeros(1, int), whole.epoch(0).positions[step[:1]]))[0][0])
        for step in whole.epoch(0).steps
    ]
    assert lengths != sorted(lengths)
    first, second = (
        {frozenset(whole.epoch(epoch).positions[step].tolist()) for step in whole.epoch(epoch).steps}
        for epoch in (0, 1)
    )
    assert len(first & second) < len(first) / 4


def test_lengths_come_in_another_order_in_each_epoch() -> None:
    part = Lengths(400, change=0)  # the same lengths in every epoch, and so the same steps but for their order
    whole, orders = plan([part]), []
    for epoch in (0, 1):
        sources, targets = part.lengths(Draws(np.zeros(400, int), whole.epoch(epoch).positions))
        orders.append([(max(sources[step] + 3) // 4, max(targets[step] + 3) // 4) for step in whole.epoch(epoch).steps])
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_fewer_pairs_than_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="an epoch has 3 pairs, fewer than the 4 processes: use fewer devices"):
        plan([Lengths(3)], world_size=4)
