"""Sums over an epoch and over processes, and through a checkpoint."""

import math
import random
from fractions import Fraction

import pytest
import torch

from lightning_modules import epoch_sums
from lightning_modules.epoch_sums import EpochSums, exact_parts


def among(monkeypatch: pytest.MonkeyPatch, *others: EpochSums) -> None:
    """Let other processes have these sums."""
    alone = [other.parts() for other in others]
    monkeypatch.setattr(epoch_sums, "gather_parts", lambda mine: [mine, *alone])


def hard_numbers(count: int) -> list[float]:
    """Numbers of all sizes and signs, whose float64 sum depends on their order."""
    generator = random.Random(0)
    return [generator.uniform(-1, 1) * 2.0 ** generator.randint(-40, 40) for _ in range(count)]


def test_values_of_any_kind_are_summed_exactly():
    sums = EpochSums("loss", "examples")
    for _ in range(3):
        sums.add(torch.tensor(2.0**25, requires_grad=True), 2)
        sums.add(torch.tensor(1.0), torch.tensor(3))
    # float32 has no odd numbers of this size
    assert sums.total() == {"loss": 3 * 2**25 + 3, "examples": 15}
    sums.reset()
    assert sums.total() == {"loss": 0, "examples": 0}
    assert sums.parts() == {"loss": [], "examples": []}


def test_the_total_is_that_of_all_processes(monkeypatch):
    mine, theirs = EpochSums("loss"), EpochSums("loss")
    mine.add(1.5)
    theirs.add(2.0)
    assert mine.total() == {"loss": 1.5}
    among(monkeypatch, theirs)
    assert [mine.total(), mine.total()] == [{"loss": 3.5}] * 2  # reading changes nothing


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_21838_a_total_depends_neither_on_order_nor_on_processes(monkeypatch, processes):
    """It is the exact sum, rounded once: through a checkpoint of two processes, too."""
    numbers = hard_numbers(3000)
    expected = float(sum(map(Fraction, numbers)))
    assert sum(numbers) != expected  # plain addition is not enough
    assert sum(reversed(numbers)) != sum(numbers)

    before = [EpochSums("loss", "tokens") for _ in range(2)]
    for place, number in enumerate(numbers[:1400]):
        before[place % 2].add(number, 1)
    with monkeypatch.context() as patched:
        among(patched, before[1])
        parts = before[0].parts()
    assert all(type(each) is float for each in parts["loss"])  # so that weights_only can load them
    assert len(parts["loss"]) < 10

    after = [EpochSums("loss", "tokens") for _ in range(processes)]
    for rank, sums in enumerate(after):
        sums.add(5.0, 5)  # before the checkpoint is loaded
        sums.load(parts, rank)
    for place, number in enumerate(numbers[1400:]):
        after[place % processes].add(torch.tensor(number, dtype=torch.float64), 1)
    among(monkeypatch, *after[1:])
    assert after[0].total() == {"loss": expected, "tokens": 3000.0}


def test_numbers_that_are_not_finite_stay_so():
    for values in ([math.inf, 1.0], [math.nan, 1.0], [math.inf, -math.inf]):
        sums = EpochSums("loss")
        for value in values:
            sums.add(value)
        assert math.isclose(sums.total()["loss"], sum(values)) or math.isnan(sum(values))
        assert not math.isfinite(sums.total()["loss"])
    assert exact_parts([]) == []
    assert exact_parts([1.0, 2.0**-60, -1.0]) == [2.0**-60]
    assert exact_parts([1.0, 2.0**-60]) == [1.0, 2.0**-60]


def test_a_checkpoint_of_before_sums_were_exact_is_read() -> None:
    sums = EpochSums("loss", "examples")
    sums.load({"loss": 2.5, "examples": 3.0}, rank=0)
    sums.add(0.5, 1)
    assert sums.total() == {"loss": 3.0, "examples": 4.0}
