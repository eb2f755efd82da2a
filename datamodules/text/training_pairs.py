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


class Cycle(NamedTuple):
    """One pass over the data: its tokens, and the reference that each source has.

    Attributes:
        sources: Ids of all sources.
        references: Ids of all references, those of the first source first.
        rows: Row in `references` of the one drawn for each source, int64 [N]; None if each source has only one.
    """

    sources: TokenTable
    references: TokenTable
    rows: np.ndarray | None

    def reference_rows(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows of the references drawn for the sources at these positions."""
        return positions if self.rows is None else self.rows[positions]


class ReferencePairs(TrainingPart):
    """Base class of sources with one or more references, one of which is drawn as the target in each cycle.

    The cycles of an epoch are kept, of which there are several if the weight is above 1 or the last one ends within it:
    the batches of an epoch mix them.

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
        self._cycles: dict[int, Cycle] = {}

    @abstractmethod
    def tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        """Return the ids of all sources and of all references in a cycle, those of the first source first."""

    def __len__(self) -> int:
        """Return the number of sources."""
        return self._size

    def lengths(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of tokens of the sources and of the references drawn, both int32 [N]."""
        cycles = np.unique(draws.cycles).tolist()
        self._cycles = {number: self._cycles[number] for number in cycles if number in self._cycles}
        source_lengths, target_lengths = np.zeros_like(draws.positions), np.zeros_like(draws.positions)
        for number in cycles:
            now, cycle = draws.cycles == number, self._cycle(number)
            positions = draws.positions[now]
            source_lengths[now] = cycle.sources.lengths()[positions]
            target_lengths[now] = cycle.references.lengths()[cycle.reference_rows(positions)]
        return source_lengths, target_lengths

    def pair(self, cycle: int, position: int) -> Pair:
        """Return the source at `position` and the reference drawn for it in a cycle."""
        drawn = self._cycle(cycle)
        return drawn.sources.row(position), drawn.references.row(int(drawn.reference_rows(np.array(position))))

    def _cycle(self, number: int) -> Cycle:
        if number not in self._cycles:
            self._cycles[number] = Cycle(*self.tables(number), self._draw_rows(number))
        return self._cycles[number]

    def _draw_rows(self, cycle: int) -> np.ndarray | None:
        if self._counts is None:
            return None
        drawn = numpy_generator("references", *self._key, cycle).integers(self._counts)
        rows: np.ndarray = np.cumsum(self._counts) - self._counts + drawn
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

    def tables(self, cycle: int) -> tuple[TokenTable, TokenTable]:
        """Draw the tokens of all sources and of all references again."""
        sources, references = (
            texts.draw(numpy_generator("tokens", *self._key, cycle, side)).truncate(max_length, EOS_ID)
            for side, (texts, max_length) in enumerate(zip(self._texts, self._max_lengths, strict=True))
        )
        return sources, references
