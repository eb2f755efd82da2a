"""On a GPU, where one step of decoding is captured and replayed, searches find what they find on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from architectures.t5 import fixed_step, incremental
from architectures.t5.generation import generate
from architectures.t5.repeated_step import RepeatedStep
from tests.architectures.t5.generated import ending, score_size, sources
from tests.architectures.t5.oracle import make_pair
from tests.architectures.t5.test_fixed_step import SEARCHES
from tests.close import assert_close

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[RepeatedStep]:
    """The repeated steps of what is decoded, one per number of sources."""
    found: list[RepeatedStep] = []

    def record(device: torch.device) -> RepeatedStep:
        found.append(RepeatedStep(device))
        return found[-1]

    monkeypatch.setattr(fixed_step, "RepeatedStep", record)
    monkeypatch.setattr(fixed_step, "FEWER", 2)
    return found


def on_gpu(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor.cuda() for name, tensor in inputs.items()}


@pytest.mark.parametrize("looks", [1, 100])
@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_a_replayed_step_finds_what_the_cpu_finds(
    options: dict[str, Any], looks: int, repeated: list[RepeatedStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental, "steps_between_looks", lambda device: looks)
    model, _ = make_pair(ending("tied"))
    for max_length in (2, 3, 15):
        model.cpu()
        sequences, scores = generate(model, **sources(32), max_length=max_length, **options)
        size = score_size(model, sources(32), sequences, options.get("length_penalty", 1.0))
        found, found_scores = generate(model.cuda(), **on_gpu(sources(32)), max_length=max_length, **options)
        assert torch.equal(found.cpu(), sequences)
        assert_close(found_scores.cpu(), scores, size=size)
    assert max(each.calls for each in repeated) > 2
    assert (len(repeated) > 3) == (looks == 1)


def test_bfloat16_in_inference_mode_is_as_without_a_graph(
    repeated: list[RepeatedStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = make_pair(ending("tied"))
    model.cuda()
    results = []
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        for _ in range(2):
            results.append(generate(model, **on_gpu(sources(32)), max_length=15, num_beams=4)[1])
            monkeypatch.setattr(RepeatedStep, "__call__", lambda self, step: step())
    assert max(each.calls for each in repeated) > 2
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_capture_without_memory_is_tried_again() -> None:
    counter = torch.zeros(1, device="cuda")
    tries: list[None] = []

    def step() -> torch.Tensor:
        tries.append(None)
        if len(tries) == 2:
            raise torch.OutOfMemoryError
        return counter.add_(1) * 2

    repeat = RepeatedStep(counter.device)
    assert [float(repeat(step)) for _ in range(4)] == [2, 4, 6, 8]
    assert len(tries) == 3


def test_each_capture_takes_over_the_memory_of_the_one_before() -> None:
    model, _ = make_pair(ending("tied"))
    model.cuda()
    reserved = []
    for _ in range(20):
        generate(model, **on_gpu(sources(32)), max_length=15, num_beams=4)
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] == reserved[2]
