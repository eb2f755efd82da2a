"""Tests of the norm and its derivative against torch's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures.t5.config import T5Config
from architectures.t5.norm import RMSNorm, rms_norm
from tests.architectures.t5.oracle import SMALL

EPSILON = 0.3  # large enough to matter


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x, weight_M = torch.randn(2, 3, 5, dtype=dtype, requires_grad=True), torch.randn(5, dtype=dtype, requires_grad=True)
    return x, weight_M


def test_equals_torch_and_so_do_its_gradients() -> None:
    x, weight_M = example()
    ours, theirs = rms_norm(x, weight_M, EPSILON), F.rms_norm(x, (5,), weight_M, EPSILON)
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
    direction = torch.randn_like(theirs)
    expected = torch.autograd.grad(theirs, (x, weight_M), direction)
    torch.testing.assert_close(torch.autograd.grad(ours, (x, weight_M), direction), expected, rtol=1e-12, atol=1e-12)


def test_derivative_is_the_numerical_one() -> None:
    assert torch.autograd.gradcheck(lambda x, weight_M: rms_norm(x, weight_M, EPSILON), example())


def test_zeros_have_finite_gradients() -> None:
    x, weight_M = torch.zeros(2, 5, requires_grad=True), torch.ones(5, requires_grad=True)
    rms_norm(x, weight_M, 1e-6).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full((2, 5), 1e3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keeps_what_few_tensors_the_backward_pass_needs(dtype: torch.dtype) -> None:
    """One of the size of x, and the weight and the scales of the tokens."""
    norm = RMSNorm(T5Config(**SMALL)).to(dtype)
    x = torch.randn(4, 3, norm.weight.numel(), dtype=dtype, requires_grad=True)
    saved: list[int] = []

    def record(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        result = norm(x)
    assert result.dtype == dtype
    assert sorted(saved) == [12, norm.weight.numel(), x.numel()]


def test_under_autocast_it_is_float32_inside() -> None:
    norm = RMSNorm(T5Config(**SMALL))
    nn.init.normal_(norm.weight)
    x = torch.randn(4, norm.weight.numel(), requires_grad=True)
    exact = F.rms_norm(x, norm.weight.shape, norm.weight, norm.epsilon)
    (expected,) = torch.autograd.grad(exact.to(torch.bfloat16).sum(), x)
    with torch.autocast("cpu", torch.bfloat16):
        result = norm(x)
    assert torch.equal(result, exact.to(torch.bfloat16))
    torch.testing.assert_close(torch.autograd.grad(result.sum(), x)[0], expected)
