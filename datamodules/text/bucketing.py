"""Bucketing: which pairs of texts, similar in length, share a batch within a budget of tokens."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Lengths = TypeVar("Lengths", int, np.ndarray)


def round_up(lengths: Lengths, multiple: int) -> Lengths:
    """Return lengths rounded up to a multiple."""
    return -(-lengths // multiple) * multiple


def bucket_pairs(sources: np.ndarray, targets: np.ndarray, batch_tokens: int, world_size: int = 1) -> list[np.ndarray]:
    """Divide pairs into steps: one batch per process of at most `batch_tokens` tokens, padding included.

    The pairs are sorted by source length, and those of one source length by target length, alternately ascending and
    descending. Pairs of equal lengths keep the given order. The shapes of the batches therefore depend only on
    the lengths, and which pairs share a batch depends on the order.

    Args:
        sources: Padded source lengths, [N].
        targets: Padded target lengths, [N].
        batch_tokens: Maximum number of tokens in a batch, sources and targets together; a longer pair is a batch by
            itself.
        world_size: Number of processes; of the pairs of a step, process r takes r, r + world_size, ...

    Returns:
        The pairs of each step, as positions int64 in the given arrays, each position once. Each step has at least
        `world_size` pairs, provided that there are that many.
    """
    occurs = np.zeros(sources.max(initial=0) + 1, bool)
    occurs[sources] = True
    descends = (np.cumsum(occurs) % 2 == 0)[sources]  # every second of the lengths that occur
    order = np.lexsort((np.where(descends, -targets, targets), sources))
    source_lengths, target_lengths = sources[order], targets[order]
    steps: list[np.ndarray] = []
    first = 0
    while first < len(order):
        most = world_size * max(1, batch_tokens // int(source_lengths[first]))  # sources only get longer from here
        candidates = slice(first, first + most)
        widths = np.maximum.accumulate(source_lengths[candidates]) + np.maximum.accumulate(target_lengths[candidates])
        rows = np.arange(world_size, world_size + len(widths)) // world_size  # of the process with the most
        count = max(world_size, int((rows * widths <= batch_tokens).sum()))
        left = len(order) - first
        if 0 < left - count < world_size:  # too few would be left for a step
            count = left if left < 2 * world_size else left - world_size
        steps.append(order[first : first + count])
        first += count
    return steps


def bucket_pairs_into(
    sources: np.ndarray, targets: np.ndarray, batch_tokens: int, world_size: int, number: int | None
) -> list[np.ndarray]:
    """Divide pairs as `bucket_pairs` does, into exactly `number` steps if possible; if None, into any number.

    The Trainer asks for the length of an epoch only once. An epoch whose pairs differ in length from those of the first
    may need more or fewer steps. Then the budget is raised by 1% at a time, or the largest steps are halved.
    """
    steps = bucket_pairs(sources, targets, batch_tokens, world_size)
    if number is None:
        return steps
    while len(steps) > number:
        batch_tokens += max(1, batch_tokens // 100)
        steps = bucket_pairs(sources, targets, batch_tokens, world_size)
    return _halve_largest(steps, number, world_size)


def _halve_largest(steps: list[np.ndarray], number: int, world_size: int) -> list[np.ndarray]:
    """Halve the largest steps until there are `number`, or none can be halved."""
    steps = list(steps)
    while len(steps) < number:
        largest = max(range(len(steps)), key=lambda step: len(steps[step]))
        step = steps[largest]
        if len(step) < 2 * world_size:
            break
        half = len(step) // 2
        steps[largest : largest + 1] = [step[:half], step[half:]]
    return steps
