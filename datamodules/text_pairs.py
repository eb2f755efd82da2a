"""Token ids of what is trained and scored on: rows of pairs, and segments whose noise is drawn anew each time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datamodules.bpe_dropout import BPEDropout
from datamodules.seeding import numpy_generator
from datamodules.span_corruption import SpanCorruption
from datamodules.token_batches import Draws, cut_into, draw_examples, padded, shuffled_steps
from datamodules.token_cache import TokenTable, encode_texts
from datamodules.tokenization import EOS_ID, sentinel_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pair = tuple[np.ndarray, np.ndarray]
"""Ids of a source and of a target, both with the end of the sequence."""


class TrainingPart(ABC):
    """The training data of one task, as token ids."""

    weight: float

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of the sources and of the targets of these draws, both int64 [N]."""

    @abstractmethod
    def pair(self, cycle: int, position: int) -> Pair:
        """The pair at `position`, as it is the `cycle`-th time."""


class Pairs(TrainingPart):
    """Sources, each with one or more targets, of which one is drawn each time.

    Args:
        sources: Ids of the sources, at most as long as they may be.
        targets: Ids of all targets, those of the first source first.
        counts: How many targets each source has, int64 [N].
        weight: How often an epoch has each pair.
        seed: Draws the targets, together with `part`.
        part: Number of the task.
    """

    def __init__(
        self, sources: TokenTable, targets: TokenTable, counts: np.ndarray, weight: float, seed: int, part: int
    ) -> None:
        self.sources = sources
        self.targets = targets
        self.counts = counts
        self.weight = weight
        self._first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])[:-1]
        self._key = (seed, part)
        self._chosen: tuple[int, np.ndarray] = (-1, self._first)

    def __len__(self) -> int:
        return len(self.counts)

    def _targets_of(self, cycle: int) -> np.ndarray:
        """The row of the target drawn for each source, int64 [N]."""
        if self._chosen[0] != cycle:
            drawn = numpy_generator(*self._key, cycle).integers(self.counts)
            self._chosen = (cycle, self._first + drawn)
        return self._chosen[1]

    def _tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        """The ids of all sources and of all targets."""
        return self.sources, self.targets

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        source_lengths, target_lengths = np.zeros_like(draws.positions), np.zeros_like(draws.positions)
        for cycle in np.unique(draws.cycles).tolist():
            now = draws.cycles == cycle
            sources, targets = self._tables(cycle)
            source_lengths[now] = sources.lengths()[draws.positions[now]]
            target_lengths[now] = targets.lengths()[self._targets_of(cycle)[draws.positions[now]]]
        return source_lengths, target_lengths

    def pair(self, cycle: int, position: int) -> Pair:
        sources, targets = self._tables(cycle)
        return sources.row(position), targets.row(int(self._targets_of(cycle)[position]))


class RespeltPairs(Pairs):
    """Pairs whose texts are tokenised anew each time.

    Args:
        sources: The texts of the sources.
        targets: Those of all targets, those of the first source first.
        longest: Most tokens of a source and of a target; what is longer is cut.
        counts: How many targets each source has, int64 [N].
        weight: How often an epoch has each pair.
        seed: Draws the targets and the tokens, together with `part`.
        part: Number of the task.
    """

    def __init__(
        self,
        sources: BPEDropout,
        targets: BPEDropout,
        longest: tuple[int, int],
        counts: np.ndarray,
        weight: float,
        seed: int,
        part: int,
    ) -> None:
        nothing = TokenTable.of([])
        super().__init__(nothing, nothing, counts, weight, seed, part)
        self._texts = (sources, targets)
        self._longest = longest
        self._drawn: dict[int, tuple[TokenTable, TokenTable]] = {}

    def _tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        if cycle not in self._drawn:
            sources, targets = (
                texts.draw(numpy_generator(*self._key, cycle, side)).cut(longest, EOS_ID)
                for side, (texts, longest) in enumerate(zip(self._texts, self._longest, strict=True), start=1)
            )
            # An epoch may end one cycle and begin the next.
            self._drawn = {known: self._drawn[known] for known in list(self._drawn)[-1:]} | {cycle: (sources, targets)}
        return self._drawn[cycle]


class Segments(TrainingPart):
    """Segments of plain text, corrupted anew each time.

    Args:
        segments: Ids of the segments, without ends of sequences.
        task: How to corrupt them.
        sentinels: Ids of `<extra_id_0>`, ...
        seed: Draws the spans, together with `part`.
        part: Number of the task.
    """

    def __init__(self, segments: TokenTable, task: SpanCorruption, sentinels: list[int], seed: int, part: int) -> None:
        self.segments = segments
        self.task = task
        self.weight = task.weight
        self.sentinels = sentinels
        self._key = (seed, part)
        lengths = [task.corrupted_lengths(int(length)) for length in segments.lengths()]
        self._lengths = np.array(lengths, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.segments)

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        sources, targets = self._lengths[draws.positions].T
        return sources, targets

    def pair(self, cycle: int, position: int) -> Pair:
        generator = numpy_generator(*self._key, cycle, position)
        return self.task.corrupt(self.segments.row(position), self.sentinels, EOS_ID, generator)


def cut_segments(
    tokenizer: Tokenizer,
    task: SpanCorruption,
    texts: list[str],
    max_source_length: int,
    max_target_length: int,
    cache_dir: str | None,
) -> tuple[TokenTable, list[int]]:
    """(segments, sentinels): the texts as one stream of tokens, cut into segments that fit once corrupted.

    Raises:
        ValueError: The tokenizer has too few sentinels, or the text too few tokens.
    """
    length = task.segment_length(max_source_length, max_target_length)
    sentinels = sentinel_ids(tokenizer)
    needed = task.span_counts(length)[1] + 1
    if len(sentinels) < needed:
        raise ValueError(
            f"SpanCorruption needs {needed} sentinels for segments of {length} tokens, and the tokenizer has "
            f"{len(sentinels)}: set data.num_sentinels to at least {needed}, or use a tokenizer with more"
        )
    table = encode_texts(tokenizer, texts, cache_dir)
    stream = table.ids[table.ids != EOS_ID]
    rest = len(stream) % length
    if rest == 1:  # one token cannot be both kept and taken
        stream, rest = stream[:-1], 0
    if not len(stream):
        raise ValueError("SpanCorruption: the text has fewer than two tokens")
    starts = np.append(np.arange(0, len(stream), length), len(stream))
    return TokenTable(stream, starts), sentinels


class ScoredTexts(NamedTuple):
    """What is evaluated: ids and texts of each example, and its place (or line)."""

    source_ids: TokenTable
    target_ids: TokenTable
    sources: list[str]
    references: list[tuple[str, ...]]
    places: np.ndarray


def joined_texts(parts: list[ScoredTexts], in_turn: bool) -> ScoredTexts:
    """The texts of several tasks, one after the other or an example of each in turn; `places` are those in that."""
    sources = [source for part in parts for source in part.sources]
    references = [reference for part in parts for reference in part.references]
    turns = np.concatenate([part.places for part in parts])
    order = np.argsort(turns, kind="stable") if in_turn else np.arange(len(turns))
    index = np.empty(len(order), np.int64)
    index[order] = np.arange(len(order))
    return ScoredTexts(
        TokenTable.joined([part.source_ids for part in parts]),
        TokenTable.joined([part.target_ids for part in parts]),
        sources,
        references,
        index,
    )


class EpochPlan(NamedTuple):
    """What an epoch trains on.

    Attributes:
        parts, cycles, positions: Where each of the epoch's pairs comes from, int64 [N].
        steps: The pairs of each batch on all processes together, as numbers from 0 to N - 1.
        target_tokens: Tokens in the targets of each of the steps.
    """

    parts: np.ndarray
    cycles: np.ndarray
    positions: np.ndarray
    steps: list[np.ndarray]
    target_tokens: list[int]


class TrainingPlan:
    """The batches of every epoch: a pure function of the arguments and of the number of the epoch.

    Each epoch has as many steps as the first: the Trainer and the learning rate's schedule count on it.

    Args:
        parts: The data of the tasks.
        batch_tokens: Most tokens of a batch, padding included, sources and targets together.
        multiple: Lengths are padded up to a multiple of it.
        seed: Seed of the order.
        world: Number of processes.

    Raises:
        ValueError: Fewer pairs than processes.
    """

    def __init__(self, parts: list[TrainingPart], batch_tokens: int, multiple: int, seed: int, world: int) -> None:
        self.parts = parts
        self.batch_tokens = batch_tokens
        self.multiple = multiple
        self.seed = seed
        self.world = world
        self._last: tuple[int, EpochPlan] | None = None
        self._steps: int | None = None
        pairs = len(self.epoch(0).parts)
        if pairs < world:
            raise ValueError(f"an epoch has {pairs} pairs, fewer than the {world} processes: use fewer devices")
        self._steps = len(self.epoch(0).steps)

    def epoch(self, epoch: int) -> EpochPlan:
        """The plan of an epoch; the last one asked for is kept."""
        if self._last is None or self._last[0] != epoch:
            self._last = (epoch, self._plan(epoch))
        return self._last[1]

    def _plan(self, epoch: int) -> EpochPlan:
        draws = [
            draw_examples(len(part), part.weight, seed=self.seed, epoch=epoch, part=number)
            for number, part in enumerate(self.parts)
        ]
        lengths = [part.lengths(drawn) for part, drawn in zip(self.parts, draws, strict=True)]
        sources = np.concatenate([pair[0] for pair in lengths])
        targets = np.concatenate([pair[1] for pair in lengths])
        # Mixes the tasks: where lengths are equal, batches keep this order.
        mixed = numpy_generator(self.seed, epoch, len(self.parts)).permutation(len(sources))
        sources, targets = sources[mixed], targets[mixed]
        steps = cut_into(
            padded(sources, self.multiple), padded(targets, self.multiple), self.batch_tokens, self.world, self._steps
        )
        steps = shuffled_steps(steps, seed=self.seed, epoch=epoch)
        return EpochPlan(
            np.repeat(np.arange(len(draws)), [len(drawn.positions) for drawn in draws])[mixed],
            np.concatenate([drawn.cycles for drawn in draws])[mixed],
            np.concatenate([drawn.positions for drawn in draws])[mixed],
            steps,
            [int(targets[step].sum()) for step in steps],
        )

    def pairs(self, epoch: int, places: np.ndarray) -> list[Pair]:
        """The pairs with these numbers in an epoch's plan."""
        plan = self.epoch(epoch)
        return [
            self.parts[part].pair(int(cycle), int(position))
            for part, cycle, position in zip(
                plan.parts[places], plan.cycles[places], plan.positions[places], strict=True
            )
        ]
