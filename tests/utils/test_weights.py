"""Digests of tensors and other state, and whether values are finite."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from utils.weights import check_digests, check_finite, digest_of, digests_of, plain_weights


def test_a_digest_is_of_type_shape_and_values_whatever_the_layout_in_memory():
    images = torch.randn(2, 3, 4, 5)
    same = [images.clone(), images.to(memory_format=torch.channels_last), torch.nn.Parameter(images)]
    assert {digest_of(each) for each in same} == {digest_of(images)}
    others = [images.double(), images.view(6, 20), images + 1e-6, images.flip(0), images[:1], -images]
    assert len({digest_of(each) for each in [images, *others]}) == 7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_every_type_and_shape_has_a_digest_and_can_be_checked(dtype, shape):
    weights = {"w": torch.ones(shape).to(dtype)}
    check_digests(weights, digests_of(weights))
    check_finite(weights)
    if shape == (3, 2):
        other = {"w": torch.zeros(shape).to(dtype)}
        with pytest.raises(ValueError, match=r"^w of its weights was altered"):
            check_digests(other, digests_of(weights))


def test_tensors_that_are_no_plain_block_of_memory_are_left_out():
    class Shard(Tensor):
        """A part of a distributed tensor, say."""

    parts = {"sparse": torch.eye(3).to_sparse(), "meta": torch.ones(3, device="meta"), "shard": Shard(torch.ones(2))}
    assert digests_of(parts) == {}
    check_digests(parts, {})
    check_finite(parts)


def test_a_digest_of_nested_state_outlives_saving(tmp_path):
    state = {"a": [1, 2.5, None, "x"], 3: {"t": torch.arange(3), "b": True, "n": float("nan")}, "e": ()}
    torch.save(state, tmp_path / "a.pt")
    assert digest_of(torch.load(tmp_path / "a.pt", weights_only=True)) == digest_of(state)
    others: list[Any] = [{**state, "a": [1, 2.5, None, "y"]}, {**state, "e": ((),)}, {"b": 1}, {"b": True}, {"b": 1.0}]
    assert len({digest_of(each) for each in [state, *others]}) == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_only_values_that_are_not_finite_are_refused(dtype):
    largest = torch.full((4,), torch.finfo(dtype).max, dtype=dtype)  # their sum overflows
    check_finite({"w": largest})
    for value in ("inf", "-inf", "nan"):
        weights = {"w": largest, "v": torch.tensor([0.0, float(value)], dtype=dtype)}
        with pytest.raises(ValueError, match=r"^v holds values"):
            check_finite(weights)
    with pytest.raises(ValueError, match=r"^v holds values"):
        check_finite({"v": torch.tensor([float("inf"), -float("inf")], dtype=dtype)})


def with_attribute() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.detach = 3  # type: ignore[assignment]
    return parameter


@pytest.mark.parametrize(
    "tensor",
    [
        with_attribute(),
        torch.ones(3).to_sparse(),
        torch.ones(1).as_strided((2**38,), (0,)),
        torch.ones(3, device="meta"),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ],
    ids=["with-an-attribute", "sparse", "larger-than-its-memory", "without-values", "conjugated", "quantized"],
)
def test_weights_that_no_training_writes_are_refused_by_name(tensor):
    with pytest.raises(ValueError, match="odd of its weights is not a plain tensor"):
        plain_weights({"fine": torch.ones(2), "odd": tensor})


def test_infinite_values_are_refused_unless_the_training_wrote_them_and_nan_always():
    infinite, unknown = {"mask": torch.tensor([0.0, -math.inf])}, {"mask": torch.tensor([0.0, math.nan])}
    with pytest.raises(ValueError, match="mask"):
        check_finite(infinite)
    check_finite(infinite, infinite_ok=True)
    with pytest.raises(ValueError, match="mask"):
        check_finite(unknown, infinite_ok=True)
