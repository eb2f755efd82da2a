"""Which text pairs make which batch: a budget of tokens each, of pairs alike in length, shared out among processes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from datamodules.seeding import torch_generator


class Draws(NamedTuple):
    """Examples to be taken, and what for.

    cycles int64 [N] is how often the data set had been gone through before each draw: it keys what is random about an
    example, so that two draws of the same one differ. positions int64 [N] are places in the data set.
    """

    cycles: np.ndarray
    positions: np.ndarray


def draw_examples(size: int, weight: float, *, seed: int, epoch: int, part: int = 0) -> Draws:
    """The examples of an epoch, `weight` times as many as there are: a pure function of the arguments.

    They are the next in an endless row of shuffles, so that an example is never a second time ahead of another.

    Args:
        size: Number of examples, at least 1.
        weight: Above 0. 0.5 gives one half of the examples in one epoch and the other in the next.
        seed: Seed of the shuffles.
        epoch: Which epoch.
        part: Number of the data set among those trained on together.
    """
    count = max(1, round(size * weight))
    first, last = epoch * count, (epoch + 1) * count
    cycles, positions = [], []
    while first < last:
        cycle, offset = divmod(first, size)
        order = torch.randperm(size, generator=torch_generator(seed, cycle, part)).numpy()
        taken = order[offset : offset + last - first]
        cycles.append(np.full(len(taken), cycle))
        positions.append(taken)
        first += len(taken)
    return Draws(np.concatenate(cycles), np.concatenate(positions))


def padded(lengths: np.ndarray, multiple: int) -> np.ndarray:
    """Lengths rounded up to a multiple."""
    return -(-lengths // multiple) * multiple


def cut_batches(sources: np.ndarray, targets: np.ndarray, batch_tokens: int, world: int = 1) -> list[np.ndarray]:
    """Cut pairs into steps: each a batch a process, of at most `batch_tokens` tokens, padding included.

    The pairs are sorted by source length, and those of one source length by target length, up and down in turn.
    Where lengths are equal they stay in the order given. So which shapes come out depends on the lengths alone,
    and which pairs share a batch on the order.

    Args:
        sources: Padded source lengths, [N].
        targets: Padded target lengths, [N].
        batch_tokens: Most tokens of a batch, sources and targets together; a longer pair is a batch of its own.
        world: Number of processes; process r takes r, r + world, ... of a step.

    Returns:
        Places int64 in the arrays given, for each step; every place once. Each step has `world` places at least, where
        there are as many.
    """
    _, source_rank = np.unique(sources, return_inverse=True)
    order = np.lexsort((np.where(source_rank % 2, -targets, targets), sources))
    long, wide = sources[order], targets[order]
    steps: list[np.ndarray] = []
    first = 0
    while first < len(order):
        most = world * max(1, batch_tokens // int(long[first]))  # sources only grow from here
        sizes = np.maximum.accumulate(long[first : first + most]) + np.maximum.accumulate(wide[first : first + most])
        rows = np.arange(world, world + len(sizes)) // world  # of the fullest process
        count = max(world, int((rows * sizes <= batch_tokens).sum()))
        if 0 < len(order) - first - count < world:  # too few would be left for a step
            count = len(order) - first if len(order) - first < 2 * world else len(order) - first - world
        steps.append(order[first : first + count])
        first += count
    return steps


def with_steps(steps: list[np.ndarray], number: int, world: int) -> list[np.ndarray]:
    """Halve the largest steps until there are `number`, or none can be halved."""
    steps = list(steps)
    while len(steps) < number:
        largest = max(range(len(steps)), key=lambda step: len(steps[step]))
        step = steps[largest]
        if len(step) < 2 * world:
            break
        half = len(step) // 2
        steps[largest : largest + 1] = [step[:half], step[half:]]
    return steps


def cut_into(
    sources: np.ndarray, targets: np.ndarray, batch_tokens: int, world: int, number: int | None
) -> list[np.ndarray]:
    """As `cut_batches`, in exactly `number` steps where the pairs allow it; None: in as many as it takes.

    The Trainer asks for the length of an epoch once. Draws with other lengths than those of the first epoch may need a
    step more or less: then the largest are halved, or the budget is let out by 1% at a time.
    """
    steps = cut_batches(sources, targets, batch_tokens, world)
    if number is None:
        return steps
    while len(steps) > number:
        batch_tokens += max(1, batch_tokens // 100)
        steps = cut_batches(sources, targets, batch_tokens, world)
    return with_steps(steps, number, world)


def shuffled_steps(steps: list[np.ndarray], *, seed: int, epoch: int) -> list[np.ndarray]:
    """The steps in an order that depends on (seed, epoch) alone."""
    return [steps[place] for place in torch.randperm(len(steps), generator=torch_generator(seed, epoch, 1)).tolist()]
