"""The calibration error against that of torchmetrics, in any order and of any number of processes."""

import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from lightning_modules.calibration import CalibrationError


def some_outputs(count: int = 500) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    probabilities = (4 * torch.randn(count, 5, generator=generator)).softmax(1)
    probabilities[:7] = torch.eye(5)[[0, 1, 2, 3, 4, 0, 1]]  # as sure as can be
    return probabilities, torch.randint(0, 5, (count,), generator=generator)


@pytest.mark.parametrize("bins", [4, 15])
def test_it_is_that_of_torchmetrics(bins):
    probabilities, labels = some_outputs()
    mine, theirs = CalibrationError(bins), MulticlassCalibrationError(5, n_bins=bins)
    for part in torch.arange(500).split(64):
        mine.update(probabilities[part], labels[part])
        theirs.update(probabilities[part], labels[part])
    assert mine.compute().item() == pytest.approx(theirs.compute().item(), rel=1e-5)
    mine.reset()
    mine.update(probabilities[:0], labels[:0])
    assert mine.compute().isnan()


def test_21838_the_calibration_error_does_not_depend_on_the_order():
    probabilities, labels = some_outputs()
    results = set()
    for seed in range(20):
        mine = CalibrationError()
        for part in torch.randperm(500, generator=torch.Generator().manual_seed(seed)).split(33):
            mine.update(probabilities[part], labels[part])
        results.add(mine.compute().item())
    assert len(results) == 1
