"""Tests of the `ImageClassifierNet` contract on every network of the package."""

import importlib
import math
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import architectures
from architectures.base import ImageClassifierNet
from architectures.mobilenet_v1 import MobileNetV1
from architectures.mobilenet_v2 import MobileNetV2
from architectures.mobinet import MobiNet
from architectures.resnet import ResNet

NETS: dict[str, Callable[..., ImageClassifierNet]] = {
    "ResNet-20": lambda **kwargs: ResNet(20, **kwargs),
    "ResNet-20 pre-activation": lambda **kwargs: ResNet(20, pre_activation=True, **kwargs),
    "ResNet-18": lambda **kwargs: ResNet(18, **kwargs),
    "ResNet-50": lambda **kwargs: ResNet(50, **kwargs),
    "ResNet-50 pre-activation": lambda **kwargs: ResNet(50, pre_activation=True, **kwargs),
    "MobileNetV1": MobileNetV1,
    "MobileNetV2": MobileNetV2,
    "MobiNet": MobiNet,
}
SIZES = [(32, 32), (33, 33), (47, 47), (97, 61)]
every_net = pytest.mark.parametrize("make_net", NETS.values(), ids=NETS.keys())


def test_all_networks_are_covered() -> None:
    for module in pkgutil.iter_modules(architectures.__path__, "architectures."):
        importlib.import_module(module.name)
    with torch.device("meta"):
        tested = {type(make()) for make in NETS.values()}
    elsewhere = {"CustomCNN"}  # tested in tests/architectures/test_custom_cnn.py
    ours = {net for net in ImageClassifierNet.__subclasses__() if net.__module__.startswith("architectures.")}
    assert {net for net in ours if net.__name__ not in elsewhere} == tested


@every_net
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@torch.no_grad()
def test_accepts_any_image_size(make_net: Callable[..., ImageClassifierNet], stem: str) -> None:
    net = make_net(num_classes=1, stem=stem).eval()  # once for all sizes: most of the time is initialization
    assert net.num_classes == 1
    for size in SIZES:
        logits = net(torch.randn(2, 3, *size))
        assert logits.shape == (2, 1) and logits.isfinite().all(), size


@every_net
def test_every_parameter_receives_a_gradient(make_net: Callable[..., ImageClassifierNet]) -> None:
    torch.manual_seed(0)
    net = make_net(num_classes=10)
    F.cross_entropy(net(torch.randn(4, 3, 32, 32)), torch.tensor([1, 2, 3, 4])).backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@every_net
def test_head_is_the_last_linear_layer(make_net: Callable[..., ImageClassifierNet]) -> None:
    net = make_net(num_classes=7)
    head = net.get_submodule(net.head)
    assert isinstance(head, nn.Linear) and head.out_features == 7
    seen: list[torch.Tensor] = []
    head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(net.eval()(images), seen[0])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.initialize_from_data(images)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@every_net
@pytest.mark.parametrize("value", [0, -1, 10.0, True, "10", None])
def test_invalid_num_classes_is_rejected(make_net: Callable[..., ImageClassifierNet], value: object) -> None:
    with pytest.raises(ValueError, match=r"num_classes must be an integer of at least 1, got"):
        make_net(num_classes=value)


@every_net
@pytest.mark.parametrize("value", ["mnist", None, True, 1])
def test_invalid_stem_is_rejected(make_net: Callable[..., ImageClassifierNet], value: object) -> None:
    with pytest.raises(ValueError, match=r"stem must be one of 'cifar', 'imagenet', got"):
        make_net(stem=value)


@pytest.mark.parametrize("make_net", [MobileNetV1, MobileNetV2, MobiNet])
@pytest.mark.parametrize("value", [0, -0.5, math.nan, math.inf, True, "1"])
def test_invalid_width_multiplier_is_rejected(make_net: Callable[..., ImageClassifierNet], value: object) -> None:
    with pytest.raises(ValueError, match=r"width_multiplier must be a number above 0, got"):
        make_net(width_multiplier=value)


@pytest.mark.parametrize("make_net", [MobileNetV2, MobiNet])
@pytest.mark.parametrize("value", [-0.1, 1, 1.5, math.nan, False, "0.2"])
def test_invalid_dropout_is_rejected(make_net: Callable[..., ImageClassifierNet], value: object) -> None:
    with pytest.raises(ValueError, match=r"dropout must be a number of at least 0 and below 1, got"):
        make_net(dropout=value)


def test_base_class_is_abstract() -> None:
    with pytest.raises(TypeError):
        ImageClassifierNet(10)  # type: ignore[abstract]
