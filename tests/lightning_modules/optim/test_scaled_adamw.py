"""ScaledAdamW by hand, and against torch's AdamW where the two are the same."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.optim.scaled_adamw import ScaledAdamW, _rates


def by_hand(p: float, gradients: list[float]) -> float:
    """A parameter of one number, lr 0.1, betas 0.9 and 0.99, eps 1e-6, decay 0.5, min_scale 0.05."""
    mean = square = 0.0
    for t, g in enumerate(gradients, 1):
        mean = 0.9 * mean + 0.1 * g
        square = 0.99 * square + 0.01 * g * g
        update = (mean / (1 - 0.9**t)) / (math.sqrt(square / (1 - 0.99**t)) + 1e-6)
        size = max(abs(p), 0.05)
        p = p * (1 - 0.1 * 0.5) - 0.1 * size * update
    return p


@pytest.mark.parametrize("start", [2.0, -0.3, 0.0])
def test_three_steps_by_hand(start):
    parameter = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = ScaledAdamW([parameter], lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.5, min_scale=0.05)
    gradients = [0.4, -1.5, 0.2]
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    assert parameter.item() == pytest.approx(by_hand(start, gradients), rel=1e-12)


def test_with_parameters_of_size_one_it_is_adamw():
    """Signs have a root mean square of 1; they are restored after each step, while the running means continue."""
    torch.manual_seed(0)
    signs = [torch.randn(shape).sign() for shape in ((5, 3), (7,), (2, 3, 4))]
    mine, theirs = ([nn.Parameter(each.clone()) for each in signs] for _ in range(2))
    options = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3}
    optimizers = ScaledAdamW(mine, **options), torch.optim.AdamW(theirs, **options)
    for _ in range(6):
        for one, other, sign in zip(mine, theirs, signs, strict=True):
            one.data.copy_(sign)
            other.data.copy_(sign)
            one.grad = torch.randn_like(sign)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_an_update_is_relative_to_the_size_of_its_parameter():
    torch.manual_seed(0)
    small = nn.Parameter(torch.randn(40, 30))
    large = nn.Parameter(small.detach() * 1000)
    optimizer = ScaledAdamW([small, large], lr=0.01, eps=1e-30)
    before = small.detach().clone()
    for _ in range(3):
        small.grad = torch.randn(40, 30)
        large.grad = small.grad * 1e-3
        optimizer.step()
    torch.testing.assert_close(large.detach() / 1000, small.detach(), rtol=1e-5, atol=1e-6)
    change = (small.detach() - before).square().mean().sqrt()
    assert 0.005 < change < 0.03  # three steps of a hundredth of its root mean square, which is 1


def test_parameters_may_join_later_and_a_loaded_state_continues_alike():
    torch.manual_seed(0)
    first = [nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))]
    gradients = [torch.randn(4, 4) for _ in range(4)]

    def steps(parameters: list[nn.Parameter], optimizer: ScaledAdamW, some: list[Tensor]) -> None:
        for gradient in some:
            parameters[0].grad = gradient.clone()
            parameters[1].grad = gradient[0].clone() if gradient is not gradients[0] else None
            optimizer.step()

    optimizer = ScaledAdamW(first, lr=0.05)
    steps(first, optimizer, gradients[:2])
    assert [optimizer.state[each]["step"] for each in first] == [2, 1]
    second = [nn.Parameter(each.detach().clone()) for each in first]
    loaded = ScaledAdamW(second, lr=0.05)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(first, optimizer, gradients[2:])
    steps(second, loaded, gradients[2:])
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"lr": -1.0}, "^lr"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"min_scale": -0.1}, "min_scale"),
        ({"eps": 0.0}, "^eps"),
        ({"betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        ScaledAdamW([nn.Parameter(torch.ones(1))], **arguments)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rates_for_a_gpu_are_what_its_kernel_takes(dtype):
    (rate,) = _rates([torch.empty(3, 4, dtype=dtype, device="meta")], lr=0.1, min_scale=1e-3)
    assert rate.dtype == torch.float32 and rate.device.type == "meta"
