"""Tests of MobileNetV1 against published parameter counts, multiply-adds and strides."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from architectures.mobilenet_v1 import MobileNetV1


def test_parameter_count_is_the_published_one() -> None:
    """Compare with the 4.2M of the paper's table 4 and the exact count of keras.applications.MobileNet (trainable)."""
    assert sum(p.numel() for p in MobileNetV1(1000).parameters()) == 4_231_976


@pytest.mark.parametrize(("width_multiplier", "millions"), [(1.0, 4.2), (0.75, 2.6), (0.5, 1.3), (0.25, 0.5)])
def test_parameter_count_by_width_is_the_published_one(width_multiplier: float, millions: float) -> None:
    """Compare with the paper's table 6."""
    count = sum(p.numel() for p in MobileNetV1(1000, width_multiplier).parameters())
    assert round(count / 1e6, 1) == millions


def test_multiply_adds_are_the_published_ones() -> None:
    """Compare with the 569M of the paper's table 4, for 224x224 images."""
    net = MobileNetV1(1000, stem="imagenet").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 3, 224, 224))
    assert round(counter.get_total_flops() / 2e6) == 569


@pytest.mark.parametrize(("stem", "side"), [("cifar", 4), ("imagenet", 1)])
def test_stem_determines_the_final_size(stem: str, side: int) -> None:
    net = MobileNetV1(stem=stem)  # type: ignore[arg-type]
    assert net.features(torch.zeros(2, 3, 32, 32)).shape == (2, 1024, side, side)


def test_number_of_layers_is_the_published_one() -> None:
    """Compare with 28, "counting depthwise and pointwise convolutions as separate layers" (paper, section 3.2)."""
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in MobileNetV1().modules()) == 28
