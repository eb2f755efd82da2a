"""Training data of a task as token ids: pairs of a source and a target, which may differ each time they are used."""

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
    """The examples that an epoch trains on.

    Attributes:
        cycles: Number of complete passes over the data before each draw, int32 [N]. It is part of the key of an
            example's random numbers, so that two draws of the same example differ.
        positions: Position of each example in the data, int32 [N].
    """

    cycles: np.ndarray
    positions: np.ndarray


class TrainingPart(ABC):
    """Base class of the training data of one task, as token ids.

    Attributes:
        weight: Number of times that an epoch has each pair.
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


class ReferencePairs(TrainingPart):
    """Base class of sources with one or more references, one of which is drawn as the target in each cycle.

    Args:
        counts: Number of references of each source, int64 [N].
        weight: Number of times that an epoch has each pair.
        seed: Seed of the choice among references, together with `part`.
        part: Number of the task, counted from 0.
    """

    def __init__(self, counts: np.ndarray, weight: float, seed: int, part: int) -> None:
        self.weight = weight
        self._key = (seed, part)
        self._size = len(counts)
        self._counts = None if (counts == 1).all() else counts  # a million ones are not kept
        self._chosen: tuple[int, np.ndarray] = (-1, counts[:0])  # a cycle, and the row of each source's reference

    @abstractmethod
    def tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        """Return the ids of all sources and of all references in a cycle, those of the first source first."""

    def __len__(self) -> int:
        """Return the number of sources."""
        return self._size

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of tokens of the sources and of the references drawn, both int32 [N]."""
        source_lengths, target_lengths = np.zeros_like(draws.positions), np.zeros_like(draws.positions)
        for cycle in np.unique(draws.cycles).tolist():
            now = draws.cycles == cycle
            sources, references = self.tables(cycle)
            source_lengths[now] = sources.lengths()[draws.positions[now]]
            target_lengths[now] = references.lengths()[self._reference_rows(cycle, draws.positions[now])]
        return source_lengths, target_lengths

    def pair(self, cycle: int, position: int) -> Pair:
        """Return the source at `position` and the reference drawn for it in a cycle."""
        sources, references = self.tables(cycle)
        return sources.row(position), references.row(int(self._reference_rows(cycle, np.array(position))))

    def _reference_rows(self, cycle: int, positions: np.ndarray) -> np.ndarray:
        """Return the rows of the references drawn for the sources at these positions in a cycle, int64 [N]."""
        if self._counts is None:
            return positions
        if self._chosen[0] != cycle:
            drawn = numpy_generator("references", *self._key, cycle).integers(self._counts)
            self._chosen = (cycle, np.cumsum(self._counts) - self._counts + drawn)
        rows: np.ndarray = self._chosen[1][positions]
        return rows


class Pairs(ReferencePairs):
    """Sources and references whose tokens never change.

    Args:
        sources: Ids of the sources, truncated to the maximum length.
        references: Ids of all references, those of the first source first, truncated to the maximum length.
        counts: Number of references of each source, int64 [N].
        weight: Number of times that an epoch has each pair.
        seed: Seed of the choice among references, together with `part`.
        part: Number of the task, counted from 0.
    """

    def __init__(
        self, sources: TokenTable, references: TokenTable, counts: np.ndarray, weight: float, seed: int, part: int
    ) -> None:
        super().__init__(counts, weight, seed, part)
        self._tables = (sources, references)

    def tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        """Return the ids of all sources and of all references."""
        return self._tables


class BPEDropoutPairs(ReferencePairs):
    """Sources and references that are tokenised again in each cycle, with BPE-dropout.

    Args:
        sources: The texts of the sources.
        references: The texts of all references, those of the first source first.
        max_lengths: Maximum lengths of a source and of a target in tokens; longer texts are truncated.
        counts: Number of references of each source, int64 [N].
        weight: Number of times that an epoch has each pair.
        seed: Seed of the choice among references and of the tokens, together with `part`.
        part: Number of the task, counted from 0.
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
        super().__init__(counts, weight, seed, part)
        self._texts = (sources, references)
        self._max_lengths = max_lengths
        self._drawn: dict[int, tuple[TokenTable, TokenTable]] = {}

    def tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        """Return the ids of all sources and of all references in a cycle; the last two cycles are kept."""
        if cycle not in self._drawn:
            sources, references = (
                texts.draw(numpy_generator("tokens", *self._key, cycle, side)).truncate(max_length, EOS_ID)
                for side, (texts, max_length) in enumerate(zip(self._texts, self._max_lengths, strict=True))
            )
            # Two, since an epoch may end one cycle and begin the next.
            self._drawn = {known: self._drawn[known] for known in list(self._drawn)[-1:]}
            self._drawn[cycle] = (sources, references)
        return self._drawn[cycle]
