"""Training pairs: which reference is the target, and tokens that are drawn again in each cycle."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datamodules.text.bpe_dropout import BPEDropout
from datamodules.text.token_table import TokenTable
from datamodules.text.training_pairs import BPEDropoutPairs, Draws, Pairs, TrainingPart
from tests.datamodules.text.counting import TOKENIZER
from utils.tokenizer_files import EOS_ID

COUNTS = np.array([1, 3, 2] * 20)
SOURCES = [[10 + number, *[5] * (number % 4), EOS_ID] for number in range(60)]
REFERENCES = [
    [100 + number, which, *[6] * which, EOS_ID] for number, count in enumerate(COUNTS) for which in range(count)
]


def pairs(seed: int = 1, part: int = 0) -> Pairs:
    return Pairs(TokenTable.of(SOURCES), TokenTable.of(REFERENCES), COUNTS, 0.5, seed, part)


def assert_lengths_are_those_of_the_pairs(part: TrainingPart, cycles: list[int]) -> None:
    positions = np.arange(len(part))[::-1]
    draws = Draws(np.resize(cycles, len(part)), positions)
    sources, targets = part.lengths(draws)
    drawn = [part.pair(int(cycle), int(position)) for cycle, position in zip(*draws, strict=True)]
    assert sources.tolist() == [len(source) for source, _ in drawn]
    assert targets.tolist() == [len(target) for _, target in drawn]


def choices(part: Pairs, cycle: int) -> list[int]:
    """Return which reference each source has in a cycle, after checking that it is one of its own."""
    found = []
    for position in range(len(part)):
        source, target = part.pair(cycle, position)
        assert source.tolist() == SOURCES[position]
        assert target[0] == 100 + position
        found.append(int(target[1]))
    return found


def test_one_of_the_references_is_drawn_in_each_cycle() -> None:
    part = pairs()
    assert len(part) == 60
    assert part.weight == 0.5
    by_cycle = [choices(part, cycle) for cycle in range(200)]
    for position, count in enumerate(COUNTS):
        times = Counter(chosen[position] for chosen in by_cycle)
        assert set(times) == set(range(count))
        assert all(abs(each / 200 - 1 / count) < 0.15 for each in times.values())


def test_the_choice_depends_only_on_seed_task_and_cycle() -> None:
    first = choices(pairs(), 3)
    part = pairs()
    assert choices(part, 4) != first
    assert choices(part, 3) == first
    assert choices(pairs(seed=2), 3) != first
    assert choices(pairs(part=1), 3) != first


def test_lengths_are_those_of_the_pairs() -> None:
    assert_lengths_are_those_of_the_pairs(pairs(), [3, 4, 7])


TEXTS = [f"say: {number} seven eight nine" for number in range(20)]


def dropout_pairs(seed: int = 1, part: int = 0, max_lengths: tuple[int, int] = (99, 99)) -> BPEDropoutPairs:
    sources, references = (BPEDropout(TOKENIZER, texts, 0.4) for texts in (TEXTS, list(reversed(TEXTS))))
    return BPEDropoutPairs(sources, references, max_lengths, np.ones(20, np.int64), 1.0, seed, part)


def drawn(part: BPEDropoutPairs, cycle: int) -> list[tuple[list[int], list[int]]]:
    return [(source.tolist(), target.tolist()) for source, target in (part.pair(cycle, place) for place in range(20))]


def test_tokens_are_drawn_again_in_each_cycle_and_spell_the_same_texts() -> None:
    part = dropout_pairs()
    first, second = drawn(part, 0), drawn(part, 1)
    for cycle in (first, second):
        assert [TOKENIZER.decode(source) for source, _ in cycle] == TEXTS
        assert [TOKENIZER.decode(target) for _, target in cycle] == TEXTS[::-1]
        assert all(ids[-1] == EOS_ID for pair in cycle for ids in pair)
    assert sum(one[0] != other[0] for one, other in zip(first, second, strict=True)) > 10
    assert sum(one[1] != other[1] for one, other in zip(first, second, strict=True)) > 10
    # Sources and targets are the same texts, but have random numbers of their own.
    assert sum(pair[0] != first[19 - place][1] for place, pair in enumerate(first)) > 10


def test_tokens_depend_only_on_seed_task_and_cycle() -> None:
    first = drawn(dropout_pairs(), 5)
    part = dropout_pairs()
    for cycle in (4, 6, 7):
        drawn(part, cycle)
    assert drawn(part, 5) == first
    assert drawn(dropout_pairs(seed=2), 5) != first
    assert drawn(dropout_pairs(part=1), 5) != first


@pytest.mark.parametrize("max_lengths", [(99, 99), (6, 8)])
def test_lengths_are_those_of_the_tokens_drawn_and_at_most_the_maximum(max_lengths: tuple[int, int]) -> None:
    part = dropout_pairs(max_lengths=max_lengths)
    assert_lengths_are_those_of_the_pairs(part, [0, 1])
    whole = drawn(dropout_pairs(), 0)
    for pair, both in zip(drawn(part, 0), whole, strict=True):
        for ids, uncut, most in zip(pair, both, max_lengths, strict=True):
            assert ids == (uncut if len(uncut) <= most else [*uncut[: most - 1], EOS_ID])


def test_each_cycle_of_an_epoch_is_tokenized_once_however_batches_mix_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch that has each pair five times, after one that ended within a cycle, has six."""
    times = Counter[int]()
    draw = BPEDropout.draw

    def counted(self: BPEDropout, generator: np.random.Generator) -> TokenTable:
        times[id(self)] += 1
        return draw(self, generator)

    monkeypatch.setattr(BPEDropout, "draw", counted)
    part = dropout_pairs()
    for first, tokenized in ((0, 6), (5, 11)):
        cycles = np.repeat(np.arange(first, first + 6), 20)
        part.lengths(Draws(cycles, np.resize(np.arange(20), 120)))
        for place in np.random.default_rng(0).permutation(120).tolist():
            part.pair(int(cycles[place]), place % 20)
        assert set(times.values()) == {tokenized}
