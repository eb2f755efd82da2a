"""Layers laid out for decoding against those of the model."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from architectures.t5.config import T5Config
from architectures.t5.decoding_weights import DecodingWeights, FixedLinear, can_pack
from tests.architectures.t5.oracle import CONFIGS, make_pair, random_batch
from tests.close import assert_close

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, 7, 64])
def test_a_fixed_linear_layer_is_a_linear_layer(dtype: torch.dtype, rows: int) -> None:
    weights = [torch.randn(48, 20), torch.randn(7, 20)]
    x = torch.randn(rows, 3, 20)
    expected = F.linear(x.to(dtype), torch.cat(weights).to(dtype))
    for packed in {False, can_pack(CPU, dtype)}:
        found = FixedLinear(weights, dtype, packed)(x)
        assert found.dtype == dtype and found.shape == expected.shape
        if rows:
            assert_close(found, expected, size=20.0, dtype=dtype)


def test_what_is_packed() -> None:
    assert can_pack(CPU, torch.float32) == torch.backends.mkldnn.is_available()
    assert not can_pack(CPU, torch.float64)
    assert not can_pack(torch.device("cuda"), torch.float32)
    model, _ = make_pair(CONFIGS["tied"])
    assert DecodingWeights(model).packed == can_pack(CPU, torch.float32)
    assert not DecodingWeights(model.double()).packed


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_sources_are_encoded_as_by_the_model(config: T5Config) -> None:
    model, _ = make_pair(config)
    inputs: dict[str, Any] = random_batch(40, batch=9)
    source = inputs["input_ids"], inputs["attention_mask"]
    expected = model.encode(*source)
    assert_close(DecodingWeights(model).encode(*source), expected, size=float(expected.abs().max()))
    with torch.autocast("cpu", torch.bfloat16):
        expected = model.encode(*source)
        found = DecodingWeights(model).encode(*source)
        assert_close(found, expected.float(), size=float(expected.abs().max()), dtype=torch.bfloat16, units=4)


@torch.no_grad()
def test_no_weight_is_changed() -> None:
    model, _ = make_pair(CONFIGS["untied-gated"])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights = DecodingWeights(model)
    inputs = random_batch(40, batch=9)
    weights.encode(inputs["input_ids"], inputs["attention_mask"])
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
