"""Tests of relative position buckets against independent tables, and of where their offsets are in the bias."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from architectures.t5.attention import Attention, RelativePositionBias, padding_bias, relative_position_bucket
from architectures.t5.config import T5Config
from tests.architectures.t5.oracle import SMALL

# Distances at which a new bucket starts, for T5's 32 buckets and maximum distance 128. By the paper's rule the bucket
# of a distance d >= e is e + floor(log(d / e) / log(128 / e) * (n - e)), with n = 16 buckets per direction and e = 8 in
# the encoder, n = 32 and e = 16 in the decoder. In exact integers: bucket b starts at the smallest d for which
# d^(n-e) >= e^(n-e) * (128 / e)^(b-e).
ENCODER_STARTS = [*range(8), 8, 12, 16, 23, 32, 46, 64, 91]
DECODER_STARTS = [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]


def starts_by_integers(buckets: int, max_distance: int) -> list[int]:
    """Return the first distance of each bucket of one direction, without logarithms and without rounding."""
    exact = buckets // 2
    large = buckets - exact
    starts = list(range(exact))
    distance = exact
    for bucket in range(exact, buckets):
        step = bucket - exact
        while distance**large * exact**step < exact**large * max_distance**step:
            distance += 1
        starts.append(distance)
    return starts


def test_tables_agree_with_exact_integers() -> None:
    assert starts_by_integers(16, 128) == ENCODER_STARTS
    assert starts_by_integers(32, 128) == DECODER_STARTS


@pytest.mark.parametrize(
    ("buckets", "max_distance", "starts"),
    [
        (32, 128, DECODER_STARTS),
        (7, 10, starts_by_integers(7, 10)),
        (5, 3, starts_by_integers(5, 3)),
        (13, 100, starts_by_integers(13, 100)),
    ],
)
def test_causal_buckets_equal_the_tables(buckets: int, max_distance: int, starts: list[int]) -> None:
    distance = np.arange(400)
    expected = np.searchsorted(np.array(starts), distance, side="right") - 1
    position = torch.from_numpy(-distance)
    assert relative_position_bucket(position, False, buckets, max_distance).tolist() == expected.tolist()
    assert relative_position_bucket(-position, False, buckets, max_distance).tolist() == [0] * 400


@pytest.mark.parametrize(
    ("buckets", "max_distance", "starts"),
    [(32, 128, ENCODER_STARTS), (9, 10, starts_by_integers(4, 10)), (27, 100, starts_by_integers(13, 100))],
)
def test_bidirectional_buckets_equal_the_tables(buckets: int, max_distance: int, starts: list[int]) -> None:
    distance = np.arange(400)
    expected = np.searchsorted(np.array(starts), distance, side="right") - 1
    position = torch.from_numpy(distance)
    assert relative_position_bucket(-position, True, buckets, max_distance).tolist() == expected.tolist()
    later = relative_position_bucket(position[1:], True, buckets, max_distance)
    assert later.tolist() == (expected[1:] + buckets // 2).tolist()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_each_query_and_key_get_the_offset_of_their_bucket(bidirectional: bool) -> None:
    config = T5Config(**SMALL)
    bias = RelativePositionBias(config, bidirectional)
    offsets_1HQK = bias(9)
    for query in range(9):
        for key in range(9):
            bucket = relative_position_bucket(torch.tensor(key - query), bidirectional, 8, 10)
            assert torch.equal(offsets_1HQK[0, :, query, key], bias.embedding.weight[bucket])


def operators(attention: Attention, *inputs: Tensor) -> list[str]:
    """Return the names of the operators of a forward pass."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        attention(*inputs)
    return [event.name for event in profiler.events()]


class TestTrainingOnACPU:
    """There, attention is written out: torch's has no fused kernel for a bias with a gradient."""

    def example(self) -> tuple[Attention, Tensor, Tensor, Tensor]:
        torch.manual_seed(0)
        attention = Attention(T5Config(**SMALL | {"dropout_rate": 0.0}))
        model_dim = attention.q.in_features
        x_BQM, memory_BKM = torch.randn(3, 4, model_dim), torch.randn(3, 5, model_dim)
        bias = torch.randn(1, attention.num_heads, 4, 5) + padding_bias(torch.rand(3, 5) < 0.7)
        return attention, x_BQM.requires_grad_(), memory_BKM.requires_grad_(), bias.requires_grad_()

    def test_equals_torch_and_so_do_its_gradients(self) -> None:
        attention, *inputs = self.example()
        x_BQM, memory_BKM, bias = inputs
        q, k, v = attention.queries(x_BQM), *attention.keys_and_values(memory_BKM)
        expected = attention.o(F.scaled_dot_product_attention(q, k, v, bias, scale=1.0).transpose(1, 2).flatten(2))
        result = attention(*inputs)
        torch.testing.assert_close(result, expected)
        direction = torch.randn_like(result)
        parameters = [*inputs, *attention.parameters()]
        expected_gradients = torch.autograd.grad(expected, parameters, direction)
        torch.testing.assert_close(torch.autograd.grad(result, parameters, direction), expected_gradients)

    def test_it_is_what_runs_there_and_only_there(self) -> None:
        attention, *inputs = self.example()
        fused = "aten::scaled_dot_product_attention"
        assert fused not in operators(attention, *inputs)
        assert fused not in operators(attention.bfloat16(), *(each.bfloat16() for each in inputs))
        assert fused in operators(attention.double(), *(each.double() for each in inputs))
        with torch.no_grad():
            assert fused in operators(attention.float(), *inputs)

    def test_drops_attention_weights(self) -> None:
        attention, *inputs = self.example()
        without = attention(*inputs)
        attention.dropout.p = 0.5
        assert not torch.allclose(attention(*inputs), without)
        torch.testing.assert_close(attention.eval()(*inputs), without)
