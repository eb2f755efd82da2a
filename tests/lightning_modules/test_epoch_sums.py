"""Sums over an epoch and over processes, and through a checkpoint."""

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from lightning_modules.epoch_sums import EpochSums


class Others(SingleDeviceStrategy):
    """A strategy that adds the sums of other processes, in place as in DDP."""

    def __init__(self, *others: EpochSums) -> None:
        super().__init__("cpu")
        self.others = others

    def reduce(self, tensor: Tensor, *args: object, reduce_op: str = "mean", **kwargs: object) -> Tensor:  # type: ignore[override]
        assert reduce_op == "sum"
        for other in self.others:
            totals = other.total(Others())
            tensor += torch.tensor([totals[name] for name in other.names], dtype=torch.float64)
        return tensor


ALONE = Others()


def test_values_of_any_kind_are_summed_in_double_precision():
    sums = EpochSums("loss", "examples")
    for _ in range(3):
        sums.add(torch.tensor(2.0**25, requires_grad=True), 2)
        sums.add(torch.tensor(1.0), torch.tensor(3))
    # float32 has no odd numbers of this size
    assert sums.total(ALONE) == {"loss": 3 * 2**25 + 3, "examples": 15}
    sums.reset()
    assert sums.total(ALONE) == {"loss": 0, "examples": 0}


def test_the_total_is_that_of_all_processes():
    mine, theirs = EpochSums("loss"), EpochSums("loss")
    mine.add(1.5)
    theirs.add(2.0)
    assert mine.total(Others(theirs)) == {"loss": 3.5}
    assert mine.total(ALONE) == {"loss": 1.5}  # reading changes nothing


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_any_number_of_processes_continues_what_two_have_summed(processes):
    before = [EpochSums("loss", "tokens") for _ in range(2)]
    before[0].add(0.1, 7)
    before[1].add(0.2, 9)
    totals = before[0].total(Others(before[1]))
    assert all(type(value) is float for value in totals.values())  # so that weights_only can load them

    after = [EpochSums("loss", "tokens") for _ in range(processes)]
    for rank, sums in enumerate(after):
        sums.add(5.0, 5)  # before the checkpoint is loaded
        sums.load(totals, rank)
        sums.add(1.0, 1)
    total = after[0].total(Others(*after[1:]))
    assert total == pytest.approx({"loss": 0.1 + 0.2 + processes, "tokens": 16 + processes}, rel=1e-15)
