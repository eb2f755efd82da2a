"""The epoch plan: which examples an epoch trains on, in which batches and in which order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from datamodules.text.bucketing import bucket_pairs_into, round_up
from datamodules.text.training_pairs import Draws, Pair, TrainingPart
from utils.random_streams import numpy_generator, torch_generator


def draw_examples(size: int, weight: float, *, seed: int, epoch: int, part: int = 0) -> Draws:
    """Draw the examples of an epoch, `weight` times as many as there are: a pure function of the arguments.

    They are the next ones in an endless sequence of shuffles, so that no example is repeated before every other has
    been drawn as often.

    Args:
        size: Number of examples, at least 1.
        weight: Number of draws per example, above 0. With 0.5, an epoch has one half of the examples and the next epoch
            the other half.
        seed: Seed of the shuffles.
        epoch: Epoch, counted from 0.
        part: Number of the task, counted from 0.
    """
    count = max(1, round(size * weight))
    first, last = epoch * count, (epoch + 1) * count
    cycles, positions = [], []
    while first < last:
        cycle, offset = divmod(first, size)
        order = torch.randperm(size, generator=torch_generator("order", seed, part, cycle)).numpy()
        taken = order[offset : offset + last - first]
        cycles.append(np.full(len(taken), cycle, np.int32))
        positions.append(taken.astype(np.int32))
        first += len(taken)
    return Draws(np.concatenate(cycles), np.concatenate(positions))


class EpochPlan(NamedTuple):
    """What an epoch trains on.

    Attributes:
        parts: Number of the task of each of the epoch's pairs, int32 [N].
        cycles, positions: The example that each pair is made from, int32 [N]; see `Draws`.
        steps: The pairs of each step, of all processes together, as numbers from 0 to N - 1.
        target_tokens: Number of target tokens of each step.
    """

    parts: np.ndarray
    cycles: np.ndarray
    positions: np.ndarray
    steps: list[np.ndarray]
    target_tokens: list[int]


class TrainingPlan:
    """The plans of all epochs: a pure function of the arguments and the epoch.

    Every epoch has as many steps as the first, because the Trainer and the learning rate schedule rely on it.

    Args:
        parts: The training data of each task.
        batch_tokens: Maximum number of tokens in a batch, sources and targets together, padding included.
        multiple: Lengths are padded to a multiple of it.
        seed: Seed of the order.
        world_size: Number of processes.

    Raises:
        ValueError: There are fewer pairs than processes.
    """

    def __init__(self, parts: list[TrainingPart], batch_tokens: int, multiple: int, seed: int, world_size: int) -> None:
        self.parts = parts
        self.batch_tokens = batch_tokens
        self.multiple = multiple
        self.seed = seed
        self.world_size = world_size
        self._last: tuple[int, EpochPlan] | None = None
        self._steps: int | None = None
        pairs = len(self.epoch(0).parts)
        if pairs < world_size:
            raise ValueError(f"an epoch has {pairs} pairs, fewer than the {world_size} processes: use fewer devices")
        self._steps = len(self.epoch(0).steps)

    def epoch(self, epoch: int) -> EpochPlan:
        """Return the plan of an epoch; the last one is kept."""
        if self._last is None or self._last[0] != epoch:
            self._last = (epoch, self._plan(epoch))
        return self._last[1]

    def _plan(self, epoch: int) -> EpochPlan:
        draws = [
            draw_examples(len(part), part.weight, seed=self.seed, epoch=epoch, part=number)
            for number, part in enumerate(self.parts)
        ]
        sources, targets = self._lengths(draws)
        # Pairs of equal lengths keep this order when they are divided into batches: it mixes the tasks.
        mixed = numpy_generator("task_order", self.seed, epoch).permutation(len(sources))
        sources, targets = sources[mixed], targets[mixed]
        steps = bucket_pairs_into(
            round_up(sources, self.multiple),
            round_up(targets, self.multiple),
            self.batch_tokens,
            self.world_size,
            self._steps,
        )
        order = torch.randperm(len(steps), generator=torch_generator("step_order", self.seed, epoch))
        steps = [steps[place] for place in order.tolist()]
        sizes = [len(drawn.positions) for drawn in draws]
        return EpochPlan(
            np.repeat(np.arange(len(draws), dtype=np.int32), sizes)[mixed],
            np.concatenate([drawn.cycles for drawn in draws])[mixed],
            np.concatenate([drawn.positions for drawn in draws])[mixed],
            steps,
            [int(targets[step].sum()) for step in steps],
        )

    def _lengths(self, draws: list[Draws]) -> tuple[np.ndarray, np.ndarray]:
        """Return the lengths of sources and targets, both int32 [N]."""
        lengths = [part.lengths(drawn) for part, drawn in zip(self.parts, draws, strict=True)]
        sources, targets = (np.concatenate(side).astype(np.int32) for side in zip(*lengths, strict=True))
        return sources, targets

    def pairs(self, epoch: int, places: np.ndarray) -> list[Pair]:
        """Return the pairs with these numbers in an epoch's plan."""
        plan = self.epoch(epoch)
        return [
            self.parts[part].pair(int(cycle), int(position))
            for part, cycle, position in zip(
                plan.parts[places], plan.cycles[places], plan.positions[places], strict=True
            )
        ]
