"""What `GroupOptimizer` does for every optimizer: the closure, and parameters without a gradient."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.optim.base import GroupOptimizer
from lightning_modules.optim.muon import Muon
from lightning_modules.optim.parameter_groups import parameter_groups
from lightning_modules.optim.scaled_adamw import ScaledAdamW


class Descent(GroupOptimizer):
    """Plain gradient descent, which records the groups and numbers of parameters that it is called with."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 0.1})
        self.calls: list[tuple[str, int]] = []

    def update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        self.calls.append((group["name"], len(parameters)))
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.sub_(group["lr"] * parameter.grad)


def test_groups_are_updated_one_at_a_time_without_parameters_that_have_no_gradient():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizer = Descent(parameter_groups(net))
    net[0].weight.grad = torch.ones(3, 2)
    net[0].bias.grad = torch.ones(3)
    net[1].bias.grad = torch.ones(1)
    optimizer.step()
    assert optimizer.calls == [("weights", 1), ("vectors", 2)]
    changes = [one - other for one, other in zip(before, net.parameters(), strict=True)]
    for change, expected in zip(changes, (0.1, 0.1, 0.0, 0.1), strict=True):
        torch.testing.assert_close(change.detach(), torch.full_like(change, expected), rtol=0, atol=1e-6)


def test_a_group_without_gradients_is_left_out():
    net = nn.Linear(2, 3)
    optimizer = Descent(parameter_groups(net))
    net.bias.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.calls == [("vectors", 1)]


@pytest.mark.parametrize("optimizer", [Descent, Muon, ScaledAdamW])
def test_the_closure_computes_the_gradients_and_its_loss_is_returned(optimizer):
    torch.manual_seed(0)
    net, inputs = nn.Linear(4, 3), torch.randn(5, 4)
    other = copy.deepcopy(net)
    used, without_closure = optimizer(parameter_groups(net)), optimizer(parameter_groups(other))

    def closure() -> Tensor:
        loss = net(inputs).square().mean()
        loss.backward()
        return loss

    expected = other(inputs).square().mean()
    expected.backward()
    assert without_closure.step() is None
    assert used.step(closure) == expected
    for one, its_copy in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, its_copy)
    assert not torch.equal(net(inputs).square().mean(), expected)


def test_updates_are_not_part_of_the_graph():
    net = nn.Linear(2, 1)
    used = ScaledAdamW(parameter_groups(net))
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    used.step()
    assert net.weight.is_leaf
    assert net.weight.requires_grad
