"""Random streams: no two keys share a seed or a stream, and a stream depends on nothing but its key."""

import itertools
import random
import traceback
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from utils.random_streams import (
    PURPOSES,
    Purpose,
    numpy_generator,
    seed_global_generators,
    stream_seed,
    torch_generator,
)

Key = tuple[Purpose, int, tuple[int, ...]]


def keys(seeds: range | list[int], numbers: list[int], lengths: range) -> Iterator[Key]:
    """Yield every key of these seeds and of all positions of these lengths made of these numbers."""
    for purpose, seed, length in itertools.product(PURPOSES, seeds, lengths):
        for position in itertools.product(numbers, repeat=length):
            yield purpose, seed, position


# Zeros alone and at either end, digits that could be read together or apart, and numbers beyond 32 and 64 bits.
AWKWARD = [0, 1, 10, 2**32, 2**64]
MANY_KEYS = [
    *keys([0, 1, 11, 2**32, 2**64], AWKWARD, range(5)),  # 62,480
    *keys(range(30), [*range(17)], range(3)),  # 147,360
]


def test_no_two_of_many_keys_have_the_same_seed():
    """Two of 210,000 random 63-bit seeds are the same with a probability of 2e-9."""
    different = set(MANY_KEYS)
    assert len(different) > 200_000
    seeds = {stream_seed(purpose, seed, *position) for purpose, seed, position in different}
    assert len(seeds) == len(different)
    assert min(seeds) >= 0
    assert max(seeds) < 2**63  # what torch.manual_seed takes
    assert max(seeds) > 2**62


def sample_of_keys(count: int) -> list[Key]:
    return random.Random(0).sample(sorted(set(MANY_KEYS)), count)


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_no_two_generators_draw_the_same_numbers(library):
    """Two numbers of 53 bits per key, none of which is drawn twice."""
    drawn = set()
    sample = sample_of_keys(20_000)
    for purpose, seed, position in sample:
        if library == "torch":
            numbers = torch.rand(2, dtype=torch.float64, generator=torch_generator(purpose, seed, *position)).tolist()
        else:
            numbers = numpy_generator(purpose, seed, *position).random(2).tolist()
        drawn.add(tuple(numbers))
    assert len(drawn) == len(sample)


def test_keys_whose_seeds_share_their_lower_32_bits_are_different_streams():
    """With torch's `manual_seed` they would draw the same numbers on the CPU."""
    by_lower_bits: dict[int, Key] = {}
    pairs = []
    for key in MANY_KEYS:
        purpose, seed, position = key
        other = by_lower_bits.setdefault(stream_seed(purpose, seed, *position) % 2**32, key)
        if other != key:
            pairs.append((other, key))
    assert pairs  # about five are to be expected among 210,000 keys
    for (purpose, seed, position), (other_purpose, other_seed, other_position) in pairs:
        by_torch = [
            torch.rand(8, generator=torch.Generator().manual_seed(stream_seed(*key)))
            for key in ((purpose, seed, *position), (other_purpose, other_seed, *other_position))
        ]
        assert torch.equal(*by_torch)
        ours = torch.rand(8, generator=torch_generator(purpose, seed, *position))
        assert not torch.equal(
            ours, torch.rand(8, generator=torch_generator(other_purpose, other_seed, *other_position))
        )


def test_every_purpose_draws_its_own_numbers():
    assert get_args(Purpose) == PURPOSES
    drawn = {purpose: set(torch.rand(100, generator=torch_generator(purpose, 0, 3)).tolist()) for purpose in PURPOSES}
    for one, other in itertools.combinations(PURPOSES, 2):
        assert not drawn[one] & drawn[other], (one, other)


def test_positions_are_not_padded_and_not_joined():
    """Trailing zeros, another length, a moved boundary, a sign: each is another stream."""
    positions = [(), (0,), (0, 0), (1, 23), (12, 3), (123,), (1, 2, 3), (-1,), (1,), (1, 0), (0, 1)]
    assert len({stream_seed("order", 7, *position) for position in positions}) == len(positions)
    assert stream_seed("order", 7) != stream_seed("order", 0, 7)


@pytest.mark.parametrize("integer", [np.int64(5), np.uint8(5), torch.tensor(5)])
def test_integers_of_any_type_are_the_same_key(integer):
    assert stream_seed("order", integer, integer) == stream_seed("order", 5, 5)


@pytest.mark.parametrize("number", [1.0, 2.7, "1", None, np.float64(1.0)])
def test_what_is_not_an_integer_is_refused(number):
    with pytest.raises(TypeError):
        stream_seed("order", 0, number)
    with pytest.raises(TypeError):
        torch_generator("order", number)


def test_an_unknown_purpose_is_named():
    unknown: Any = "shuffling"
    with pytest.raises(ValueError, match=r"purpose must be one of order, .*, got 'shuffling'"):
        stream_seed(unknown, 0)


def test_a_stream_depends_on_nothing_but_its_key():
    def draw() -> tuple[list[float], list[float]]:
        numbers = torch.rand(5, generator=torch_generator("mixing", 3, 1, 4)).tolist()
        return numbers, numpy_generator("mixing", 3, 1, 4).random(5).tolist()

    first = draw()
    torch.manual_seed(99)
    np.random.seed(99)
    torch_generator("mixing", 3, 1, 5)
    assert draw() == first


def test_a_generator_leaves_the_global_ones_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    torch.rand(2, generator=torch_generator("order", 0))
    numpy_generator("order", 0).random(2)
    assert torch.equal(torch.rand(3), expected)


# --- the layout of torch's state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**32 - 1])
def test_a_key_of_the_mersenne_twister_gives_the_numbers_that_torch_and_numpy_draw_from_it(seed, monkeypatch):
    """The words of numpy's `RandomState(seed)`, where those of a stream would be: the generator of `manual_seed`."""
    words = np.random.RandomState(seed).get_state(legacy=False)["state"]["key"]  # type: ignore[index, call-overload]

    class Words:
        def __init__(self, entropy: int) -> None:
            pass

        def integers(self, high: int, size: int, dtype: type) -> np.ndarray:
            assert (high, size) == (2**32, len(words))
            return words.astype(dtype)

    monkeypatch.setattr(np.random, "default_rng", Words)
    ours, theirs = torch_generator("order", 0), torch.Generator().manual_seed(seed)
    for _ in range(700):  # more than one round of 624 words
        mine = torch.randint(2**31, (3,), generator=ours)
        assert torch.equal(mine, torch.randint(2**31, (3,), generator=theirs))
    assert torch.equal(torch.randn(17, generator=ours), torch.randn(17, generator=theirs))
    assert torch.equal(torch.randperm(1000, generator=ours), torch.randperm(1000, generator=theirs))


def test_numbers_are_uniform():
    """The mean of n numbers from [0, 1) has a standard deviation of 0.289 / sqrt(n), over streams and within one."""
    first = [torch.rand((), generator=torch_generator("order", 0, epoch)).item() for epoch in range(4000)]
    within = torch.rand(4000, generator=torch_generator("order", 0)).tolist()
    for numbers in (first, within):
        assert abs(np.mean(numbers) - 0.5) < 4 * 0.289 / 4000**0.5
        assert np.histogram(numbers, bins=10, range=(0, 1))[0] == pytest.approx(400, abs=4 * 19)


# --- the global generators -----------------------------------------------------------------------------------------


def dropped(*position: int, seed: int = 0) -> Tensor:
    seed_global_generators("dropout", seed, *position)
    return nn.Dropout(0.5)(torch.ones(200))


def test_transformers_pr_11582_dropout_is_a_function_of_its_position():
    first = dropped(2, 5, 0)
    torch.rand(11)
    assert torch.equal(dropped(2, 5, 0), first)
    others = [dropped(2, 6, 0), dropped(3, 5, 0), dropped(2, 5, 1), dropped(2, 5, 0, seed=1), dropped(2, 5)]
    assert not any(torch.equal(other, first) for other in others)


def test_the_global_generator_draws_the_stream_and_its_seed_has_all_bits():
    seed_global_generators("dropout", 0, 1, 2)
    assert torch.equal(torch.rand(9), torch.rand(9, generator=torch_generator("dropout", 0, 1, 2)))


@pytest.mark.parametrize(("initialized", "expected"), [(True, [stream_seed("dropout", 0, 1, 2)]), (False, [])])
def test_accelerators_get_the_63_bit_seed_if_something_is_computed_there(initialized, expected, monkeypatch):
    given: list[int] = []
    devices = SimpleNamespace(
        is_initialized=lambda: initialized, manual_seed=lambda seed: None, manual_seed_all=given.append
    )
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: devices)
    seed_global_generators("dropout", 0, 1, 2)
    assert given == expected


def test_seeding_formats_no_stack(monkeypatch):
    """`torch.manual_seed` does, for each kind of device that is not there, at each step."""
    monkeypatch.setattr(traceback, "format_stack", lambda *_: pytest.fail("the stack was formatted"))
    seed_global_generators("dropout", 0, 1, 2)
