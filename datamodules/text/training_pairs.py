"""Training data of a task as token ids: pairs of a source and a target, which may differ each time they come up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from datamodules.text.bpe_dropout import BPEDropout
from datamodules.text.token_table import TokenTable
from utils.random_streams import numpy_generator
from utils.tokenizer_files import EOS_ID

Pair = tuple[np.ndarray, np.ndarray]
"""Ids of a source and of a target, both with the end of the sequence."""


class Draws(NamedTuple):
    """Examples that an epoch trains on.

    Attributes:
        cycles: How often the data had been gone through before each draw, int64 [N]. It keys what is random about an
            example, so that two draws of the same one differ.
        positions: Places in the data, int64 [N].
    """

    cycles: np.ndarray
    positions: np.ndarray


class TrainingPart(ABC):
    """The training data of one task, as token ids.

    Attributes:
        weight: How often an epoch has each pair.
    """

    weight: float

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pairs."""

    @abstractmethod
    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of tokens of the sources and of the targets of these draws, both int64 [N]."""

    @abstractmethod
    def pair(self, cycle: int, position: int) -> Pair:
        """Return the pair at `position` as it is in the given cycle."""


class Pairs(TrainingPart):
    """Sources, each with one or more references, one of which is drawn as the target each time.

    Args:
        sources: Ids of the sources, at most of the maximum length.
        references: Ids of all references, those of the first source first.
        counts: Number of references of each source, int64 [N].
        weight: How often an epoch has each pair.
        seed: Seed of the draws, together with `part`.
        part: Number of the task.
    """

    def __init__(
        self, sources: TokenTable, references: TokenTable, counts: np.ndarray, weight: float, seed: int, part: int
    ) -> None:
        self.sources = sources
        self.references = references
        self.counts = counts
        self.weight = weight
        self._first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])[:-1]
        self._key = (seed, part)
        self._chosen: tuple[int, np.ndarray] = (-1, self._first)

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.counts)

    def _targets_of(self, cycle: int) -> np.ndarray:
        """Return the row of the reference drawn for each source, int64 [N]."""
        if self._chosen[0] != cycle:
            drawn = numpy_generator("references", *self._key, cycle).integers(self.counts)
            self._chosen = (cycle, self._first + drawn)
        return self._chosen[1]

    def _tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        """Return the ids of all sources and of all references."""
        return self.sources, self.references

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """See `TrainingPart.lengths`."""
        source_lengths, target_lengths = np.zeros_like(draws.positions), np.zeros_like(draws.positions)
        for cycle in np.unique(draws.cycles).tolist():
            now = draws.cycles == cycle
            sources, references = self._tables(cycle)
            source_lengths[now] = sources.lengths()[draws.positions[now]]
            target_lengths[now] = references.lengths()[self._targets_of(cycle)[draws.positions[now]]]
        return source_lengths, target_lengths

    def pair(self, cycle: int, position: int) -> Pair:
        """See `TrainingPart.pair`."""
        sources, references = self._tables(cycle)
        return sources.row(position), references.row(int(self._targets_of(cycle)[position]))


class BPEDropoutPairs(Pairs):
    """Pairs whose texts are tokenised again in each cycle, with BPE-dropout.

    Args:
        sources: The texts of the sources.
        references: The texts of all references, those of the first source first.
        max_lengths: Maximum lengths of a source and of a target in tokens; longer ones are truncated.
        counts: Number of references of each source, int64 [N].
        weight: How often an epoch has each pair.
        seed: Seed of the draws and of the tokens, together with `part`.
        part: Number of the task.
    """

    def __init__(
        self,
        sources: BPEDropout,
        references: BPEDropout,
        max_lengths: tuple[int, int],
        counts: np.ndarray,
        weight: float,
        seed: int,
        part: int,
    ) -> None:
        nothing = TokenTable.of([])
        super().__init__(nothing, nothing, counts, weight, seed, part)
        self._texts = (sources, references)
        self._max_lengths = max_lengths
        self._drawn: dict[int, tuple[TokenTable, TokenTable]] = {}

    def _tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        if cycle not in self._drawn:
            sources, references = (
                texts.draw(numpy_generator("tokens", *self._key, cycle, side)).truncate(max_length, EOS_ID)
                for side, (texts, max_length) in enumerate(zip(self._texts, self._max_lengths, strict=True))
            )
            # An epoch may end one cycle and begin the next.
            self._drawn = {known: self._drawn[known] for known in list(self._drawn)[-1:]}
            self._drawn[cycle] = (sources, references)
        return self._drawn[cycle]
