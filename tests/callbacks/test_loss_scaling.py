"""A scaled loss and its scale, as torch's own scaler has them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision, Precision

from callbacks.loss_scaling import scaler_of, unscaled

LOSS = torch.tensor([0.1, 3.0, 0.0])


def trainer_with(plugin: Precision) -> Any:
    return SimpleNamespace(precision_plugin=plugin)


@pytest.mark.parametrize("scale", [2.0**16, 2.0**-10])
def test_a_loss_is_without_its_scale(scale: float) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    trainer = trainer_with(MixedPrecision("16-mixed", "cpu", scaler))
    assert scaler_of(trainer) is scaler
    scaled = scaler.scale(LOSS)
    assert torch.equal(scaled, LOSS * scale)
    assert torch.equal(unscaled(scaled, trainer), LOSS)
    assert unscaled(torch.tensor(torch.inf), trainer).isinf()


@pytest.mark.parametrize("plugin", [Precision(), MixedPrecision("bf16-mixed", "cpu")])
def test_other_precisions_scale_nothing(plugin: Precision) -> None:
    assert scaler_of(trainer_with(plugin)) is None
    assert unscaled(LOSS, trainer_with(plugin)) is LOSS
