"""Tests of our dropout by its definition, and against torch's where both must agree."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from architectures.t5.dropout import Dropout, ReluDropout, dropout_mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_at_the_given_rate_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 999_999  # not a multiple of the four elements per random number
    result = Dropout(p)(torch.ones(count, dtype=dtype))
    deviation = (p * (1 - p) / count) ** 0.5
    assert abs((result == 0).double().mean() - p) < 4 * deviation
    assert result.dtype == dtype and result.unique().numel() == 2
    assert result.max().item() == pytest.approx(1 / (1 - p), rel=1e-4 if dtype == torch.float32 else 4e-3)


def test_elements_are_independent() -> None:
    """Neighbours share a 64-bit word, and words are the hash of a counter, but all must be dropped independently."""
    torch.manual_seed(0)
    kept = Dropout(0.5)(torch.ones(250_000, 4)).ne(0).double()
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 4 / 250_000**0.5
    for distance in (1, 2, 3, 64, 256, 2**14, 2**16):  # in words
        both = kept[distance:, :, None] * kept[:-distance, None, :]
        assert (both.mean(0) - 0.25).abs().max() < 4.5 * (3 / 16 / len(both)) ** 0.5


def test_values_that_decide_are_uniform() -> None:
    """Rates from the smallest to the largest are met by each of the four places in a word."""
    for p in (2**-12, 0.01, 0.3, 0.99, 1 - 2**-12):
        torch.manual_seed(1)
        share = dropout_mask(torch.Size((2**20, 4)), p).eq(0).double().mean(0)
        assert (share - p).abs().max() < 4 * (p * (1 - p) / 2**20) ** 0.5


def test_masks_of_one_stream_are_independent() -> None:
    torch.manual_seed(0)
    first, second = (dropout_mask(torch.Size((10**6,)), 0.5).ne(0).double() for _ in range(2))
    assert abs((first * second).mean() - 0.25) < 4 * (3 / 16 / 10**6) ** 0.5


def test_masks_do_not_depend_on_the_number_of_threads() -> None:
    masks, threads = [], torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            torch.manual_seed(0)
            masks.append(dropout_mask(torch.Size((301, 1003)), 0.3))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_relu_with_dropout_equals_one_after_the_other(dtype: torch.dtype) -> None:
    x = torch.randn(40, 50, dtype=dtype, requires_grad=True)
    direction = torch.randn_like(x)
    results = []
    for function in (ReluDropout(0.3), lambda x: Dropout(0.3)(F.relu(x))):
        torch.manual_seed(0)
        result = function(x)
        results.append((result, torch.autograd.grad(result, x, direction)[0]))
    torch.testing.assert_close(results[0], results[1])
    assert torch.equal(ReluDropout(0.3).eval()(x), F.relu(x))


def test_gradient_has_the_same_mask_as_the_output() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7, requires_grad=True)
    result = Dropout(0.4)(x)
    result.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(result, x * x.grad)


def test_a_mask_is_of_float32_whatever_the_default_is() -> None:
    expected = dropout_mask(torch.Size((1000,)), 0.1).unique()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        mask = dropout_mask(torch.Size((1000,)), 0.1)
    finally:
        torch.set_default_dtype(before)
    assert mask.dtype == torch.float32
    assert torch.equal(mask.unique(), expected)


def test_equal_seeds_give_equal_masks() -> None:
    x, masks = torch.ones(1000), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(Dropout(0.5)(x))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_edge_cases_equal_torch(p: float) -> None:
    x = torch.randn(50)
    assert torch.equal(Dropout(p).eval()(x), x)
    if p in (0.0, 1.0):
        assert torch.equal(Dropout(p)(x), nn.Dropout(p)(x))
    assert Dropout(p)(torch.empty(0, 4)).shape == (0, 4)


def test_rate_close_to_one_is_finite() -> None:
    assert Dropout(1 - 1e-9)(torch.ones(1000)).isfinite().all()
