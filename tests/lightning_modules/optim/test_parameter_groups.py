"""Parameter groups: by hand on a small network, as a partition of real ones, and what an optimizer makes of them."""

from typing import Any

import pytest
import torch
from torch import nn

from architectures.mobilenet_v2 import MobileNetV2
from architectures.resnet import ResNet
from lightning_modules.optim.parameter_groups import parameter_groups


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.header = nn.Linear(6, 5)  # its name begins like the head's
        self.head = nn.Linear(5, 4)


def names(net: nn.Module, groups: list[dict[str, Any]]) -> dict[str, set[str]]:
    name_of = {id(parameter): name for name, parameter in net.named_parameters()}
    return {group["name"]: {name_of[id(parameter)] for parameter in group["params"]} for group in groups}


def test_groups_by_hand():
    net = Net()
    groups = parameter_groups(net, "head")
    assert names(net, groups) == {
        "weights": {"conv.weight", "header.weight"},
        "head": {"head.weight"},
        "vectors": {"conv.bias", "norm.weight", "norm.bias", "header.bias"},
        "head_vectors": {"head.bias"},
    }
    assert {group["name"] for group in groups if group.get("weight_decay") == 0.0} == {"vectors", "head_vectors"}
    assert all("weight_decay" not in group for group in groups if not group["name"].endswith("vectors"))


def test_a_vector_is_one_in_whatever_shape():
    net = nn.Module()
    net.layer_scale, net.class_token = nn.Parameter(torch.ones(6, 1, 1)), nn.Parameter(torch.ones(1, 1, 5))
    net.depthwise, net.position = nn.Parameter(torch.ones(6, 1, 3, 3)), nn.Parameter(torch.ones(1, 4, 5))
    assert names(net, parameter_groups(net)) == {
        "weights": {"depthwise", "position"},
        "vectors": {"layer_scale", "class_token"},
    }


def test_frozen_parameters_and_empty_groups_are_left_out():
    net = Net()
    net.conv.weight.requires_grad = False
    net.head.requires_grad_(False)
    assert names(net, parameter_groups(net, "head")) == {
        "weights": {"header.weight"},
        "vectors": {"conv.bias", "norm.weight", "norm.bias", "header.bias"},
    }


def test_without_a_head_all_matrices_are_weights():
    net = Net()
    assert names(net, parameter_groups(net))["weights"] == {"conv.weight", "header.weight", "head.weight"}


@pytest.mark.parametrize("net", [ResNet(depth=20), MobileNetV2(num_classes=7, width_multiplier=0.25)])
def test_groups_are_a_partition(net):
    groups = parameter_groups(net, net.head)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in net.parameters()}
    by_name = names(net, groups)
    assert by_name["head"] == {f"{net.head}.weight"}
    assert by_name["head_vectors"] == {f"{net.head}.bias"}


def test_decay_reaches_matrices_only():
    net = Net()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.SGD(parameter_groups(net, "head"), lr=0.5, weight_decay=0.1)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        scale = 0.95 if name.endswith("weight") and name != "norm.weight" else 1.0
        torch.testing.assert_close(parameter.detach(), scale * before[name])
