"""Fused kernels: chosen without being asked for, the same as torch's loops, and no part of a checkpoint."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from lightning_modules.optim.fused import use_fused_kernels
from lightning_modules.optim.scaled_adamw import ScaledAdamW

OPTIMIZERS = {
    "sgd": lambda groups, **way: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, **way),
    "adam": lambda groups, **way: torch.optim.Adam(groups, lr=0.01, amsgrad=True, **way),
    "adamw": lambda groups, **way: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1, **way),
}


def filters(layout: torch.memory_format = torch.contiguous_format) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, 3, 3, generator=generator), torch.randn(4, generator=generator)
    return [nn.Parameter(weights[0].contiguous(memory_format=layout)), nn.Parameter(weights[1])]


def fused(name: str, parameters: list[nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
    optimizer = OPTIMIZERS[name](parameters, **settings)
    use_fused_kernels(optimizer)
    return optimizer


def train(optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                gradient = torch.randn(parameter.shape, generator=generator)
                parameter.grad = torch.empty_like(parameter).copy_(gradient)  # in its layout, as autograd's are
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torchs_optimizers_are_fused_and_equal_to_their_loops(name):
    mine, theirs = filters(), filters()
    optimizer = fused(name, mine)
    assert [group["fused"] for group in optimizer.param_groups] == [True]
    train(optimizer, range(4))
    train(OPTIMIZERS[name](theirs, foreach=False), range(4))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_sgd_with_dampening_is_torchs():
    """torch does not damp the first step; its fused kernel would, given the momentum that we prepare."""
    settings: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    mine, theirs = filters(), filters()
    optimizer = torch.optim.SGD(mine, **settings)
    use_fused_kernels(optimizer)
    train(optimizer, range(4))
    train(torch.optim.SGD(theirs, **settings, foreach=False), range(4))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"fused": False}, {"foreach": True}, {"foreach": False}, {"differentiable": True}]
)
def test_what_a_config_sets_stays(settings):
    optimizer = fused("adamw", filters(), **settings)
    assert not optimizer.param_groups[0]["fused"]
    assert all(optimizer.param_groups[0][key] is value for key, value in settings.items())


def test_the_gradients_that_clipping_sees_are_those_of_the_loss():
    """Lightning would leave gradients scaled under 16-mixed, and refuse to clip them."""
    optimizer = fused("adamw", filters(), fused=True)
    assert optimizer.param_groups[0]["fused"]
    assert not optimizer._step_supports_amp_scaling  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_resumes_to_the_bit(name):
    whole, resumed = filters(), filters()
    optimizer, second = fused(name, whole), fused(name, resumed)
    train(optimizer, range(2))
    for one, other in zip(whole, resumed, strict=True):
        other.data.copy_(one.data)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(optimizer, range(2, 4))
    train(second, range(2, 4))
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("before", ["loop", "fused"])
def test_a_state_of_another_layout_and_kernel_is_continued(name, before):
    """A fused kernel takes memory as it is, so a momentum in another layout would reach other weights."""
    old, new, expected = filters(), filters(torch.channels_last), filters()
    first = fused(name, old) if before == "fused" else OPTIMIZERS[name](old)
    train(first, range(2))
    train(reference := OPTIMIZERS[name](expected, foreach=False), range(2))
    for one, other in zip(old, new, strict=True):
        other.data.copy_(one.data)
    second = fused(name, new)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.param_groups[0]["fused"]
    train(second, range(2, 4))
    train(reference, range(2, 4))
    for one, other in zip(new, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_state_of_a_fused_run_is_continued_by_a_loop():
    parameters = filters()
    train(first := fused("adamw", parameters), range(2))
    second = fused("adamw", parameters, fused=False)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.param_groups[0]["fused"] is False
    train(second, range(2, 3))


def test_parameters_that_get_a_gradient_later_are_trained():
    """torch's fused SGD fails where some parameters have momentum and others do not."""
    mine, theirs = filters(), filters()
    for parameters, optimizer in ((mine, fused("sgd", mine)), (theirs, OPTIMIZERS["sgd"](theirs, foreach=False))):
        for given in (1, 2, 2):
            for number, parameter in enumerate(parameters):
                parameter.grad = torch.ones_like(parameter) if number < given else None
            optimizer.step()
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_our_own_optimizer_continues_a_state_of_another_layout():
    old, new = filters(), filters(torch.channels_last)
    train(first := ScaledAdamW(old), range(2))
    for one, other in zip(old, new, strict=True):
        other.data.copy_(one.data)
    second = ScaledAdamW(new)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for optimizer in (first, second):
        train(optimizer, range(2, 4))
    for one, other in zip(old, new, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
