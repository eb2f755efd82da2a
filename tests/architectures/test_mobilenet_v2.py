"""Tests of MobileNetV2 against torchvision's, for both stems."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from architectures.mobilenet_v2 import MobileNetV2
from tests.close import assert_close


def torchvision_net(classes: int, width: float, stem: str) -> Any:
    """Return torchvision's network with random norms and the statistics of a batch.

    The initial values 0 and 1 would hide a norm in the wrong place; random statistics would do so too, because then
    nothing of the image reaches the logits.
    """
    net = torchvision.models.mobilenet_v2(num_classes=classes, width_mult=width)
    if stem == "cifar":  # the strides, and with them where an input is added
        strided = net.features[2]
        net.features[0][0].stride = strided.conv[1][0].stride = (1, 1)
        strided.use_res_connect = strided.conv[0][0].in_channels == strided.out_channels
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = 1.0
    net.train()(torch.randn(8, 3, 64, 64))
    return net.eval()


@pytest.mark.parametrize(
    ("classes", "width"), [(1000, 1.0), (10, 0.35), (1, 0.5), (7, 0.75), (3, 1.4), (5, 0.1), (2, 1.03)]
)
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@torch.no_grad()
def test_equals_torchvision(classes: int, width: float, stem: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision_net(classes, width, stem)
    ours = MobileNetV2(classes, width, stem=stem).eval()  # type: ignore[arg-type]
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 49, 64)
    expected = theirs(images)
    assert (expected[0] - expected[1]).abs().max() > 0.01 * expected.abs().max()  # else images do not matter
    # The layers make more of what the first ones round: without oneDNN, logits are up to 120 units off. A shortcut that
    # is wrong by 0.1% moves them by 80,000 and more.
    assert_close(ours(images), expected, units=500)


def test_parameter_count_is_the_published_one() -> None:
    """Compare with the 3.4M of the paper's table 4 and the exact count in torchvision's table of weights."""
    assert sum(p.numel() for p in MobileNetV2(1000).parameters()) == 3_504_872


@pytest.mark.parametrize(("stem", "side"), [("cifar", 4), ("imagenet", 1)])
def test_stem_determines_the_final_size(stem: str, side: int) -> None:
    net = MobileNetV2(stem=stem)  # type: ignore[arg-type]
    assert net.features(torch.zeros(2, 3, 32, 32)).shape == (2, 1280, side, side)


def test_dropout_has_the_given_rate() -> None:
    net = MobileNetV2(dropout=0.75)
    dropped = net.classifier[0](torch.ones(1, 10_000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.75, abs=0.03)
