"""Tests of MobiNet: its cost against MobileNetV2's, and squeeze-and-excitation against the paper's formula."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from architectures.base import ImageClassifierNet
from architectures.mobilenet_v2 import MobileNetV2
from architectures.mobinet import InvertedResidual, MobiNet, SqueezeExcitation


def multiply_adds(net: ImageClassifierNet, size: int) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_needs_no_more_multiply_adds_than_mobilenet_v2(width: float) -> None:
    assert multiply_adds(MobiNet(10, width), 32) <= multiply_adds(MobileNetV2(10, width), 32)
    assert multiply_adds(MobileNetV2(), 32) == pytest.approx(88e6, rel=0.01)


@pytest.mark.parametrize(("stem", "side"), [("cifar", 8), ("imagenet", 2)])
def test_stem_determines_the_final_size(stem: str, side: int) -> None:
    net = MobiNet(stem=stem)  # type: ignore[arg-type]
    assert net.blocks(net.stem(torch.zeros(2, 3, 64, 64))).shape == (2, 160, side, side)


def test_squeeze_excitation_follows_its_formula() -> None:
    """Compare with Hu et al., equations 2 to 4, and MobileNetV3's hard sigmoid, relu6(x + 3) / 6."""
    block = SqueezeExcitation(8, squeezed=2)
    x = torch.randn(3, 8, 5, 4)
    squeezed = torch.einsum("bchw->bc", x) / 20
    assert block.reduce.bias is not None and block.expand.bias is not None
    hidden = torch.clamp(squeezed @ block.reduce.weight[:, :, 0, 0].T + block.reduce.bias, min=0)
    scale = torch.clamp(hidden @ block.expand.weight[:, :, 0, 0].T + block.expand.bias + 3, 0, 6) / 6
    torch.testing.assert_close(block(x), x * scale[:, :, None, None])


@pytest.mark.parametrize("fused", [False, True])
def test_input_is_added_if_shapes_agree(fused: bool) -> None:
    x = torch.randn(2, 16, 8, 8)
    for out_channels, stride, adds in ((16, 1, True), (24, 1, False), (16, 2, False)):
        block = InvertedResidual(16, out_channels, stride, expansion=2, fused=fused)
        nn.init.zeros_(block.project[1].weight)  # type: ignore[arg-type]
        assert torch.equal(block(x), x) if adds else not block(x).any()


def test_width_multiplier_scales_the_parameter_count() -> None:
    small, full, wide = (sum(p.numel() for p in MobiNet(10, width).parameters()) for width in (0.5, 1.0, 2.0))
    assert 3 < full / small < 4.5 and 3 < wide / full < 4.5
