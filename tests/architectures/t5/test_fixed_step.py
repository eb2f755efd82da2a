"""Decoding by steps of fixed shape: the results of the growing cache, also when one recorded step is replayed."""

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from architectures.t5 import fixed_step, generation, incremental
from architectures.t5.config import T5Config
from architectures.t5.decoding_weights import DecodingWeights
from architectures.t5.fixed_step import FixedStepDecoder
from architectures.t5.generation import generate
from architectures.t5.model import T5
from tests.architectures.t5.generated import ending, score_size, sources
from tests.architectures.t5.oracle import make_pair
from tests.close import assert_close
from tests.operators import CountOperators
from tests.waiting import DEVICE, no_device

SEARCHES = [
    {},
    {"num_beams": 4, "num_return_sequences": 4},
    {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0, "no_repeat_ngram_size": 2},
    {"do_sample": True, "num_return_sequences": 3, "seed": 0},
]


class Recorded:
    """What a CUDA graph is, on a CPU: the operators of one step, repeated on the same memory and without its Python."""

    def __init__(self, device: torch.device) -> None:
        self.calls = 0

    def __call__(self, step: Any) -> Tensor:
        self.calls += 1
        if self.calls == 1:
            return step()
        if self.calls == 2:
            self.replay = make_fx(lambda: step())()
            step.__self__.position_1 -= 1  # to record is to run here, but not on a GPU
        return self.replay()


def generated(options: dict[str, Any]) -> tuple[Tensor, Tensor, float]:
    """Return what a search finds, its scores, and the size of the numbers that make them."""
    model, _ = make_pair(ending("tied"))
    sequences, scores = generate(model, **sources(32), max_length=15, **options)
    return sequences, scores, score_size(model, sources(32), sequences, options.get("length_penalty", 1.0))


@pytest.mark.parametrize("looks", [1, 4, 100])
@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_one_step_repeated_finds_the_same(options: dict[str, Any], looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, scores, size = generated(options)
    graphs: list[Recorded] = []

    def record(device: torch.device) -> Recorded:
        graphs.append(Recorded(device))
        return graphs[-1]

    monkeypatch.setattr(generation, "IncrementalDecoder", FixedStepDecoder)
    monkeypatch.setattr(fixed_step, "RepeatedStep", record)
    monkeypatch.setattr(fixed_step, "FEWER", 2)
    monkeypatch.setattr(incremental, "steps_between_looks", lambda device: looks)
    found, found_scores, _ = generated(options)
    assert torch.equal(found, sequences)
    assert_close(found_scores, scores, size=size)
    assert max(graph.calls for graph in graphs) > 2  # some step was replayed
    assert looks > 1 or len(graphs) > 1  # half of the sources ended early, and the others had a graph of their own


def decoder(device: torch.device, branching: bool) -> FixedStepDecoder:
    config = T5Config(vocab_size=64, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    weights = DecodingWeights(T5(config).to(device))
    memory_BSM, mask_BS = torch.zeros(3, 16, 16, device=device), torch.ones(3, 16, device=device)
    return FixedStepDecoder(weights, memory_BSM, mask_BS, 2, 8, branching)


@pytest.mark.parametrize("branching", [False, True])
def test_a_step_waits_for_nothing(branching: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad(), no_device(monkeypatch) as waits:
        fixed = decoder(DEVICE, branching)
        waits.found.clear()
        fixed._fixed_step()
        assert waits.found == []
    assert waits.operators > 50


@pytest.mark.parametrize("branching", [False, True])
def test_every_step_is_alike(branching: bool) -> None:
    fixed, counts = decoder(torch.device("cpu"), branching), set()
    for _ in range(fixed.capacity):
        with torch.no_grad(), CountOperators() as operators:
            fixed.step(torch.ones(3, 2, dtype=torch.long))
        counts.add(operators.number)
    assert len(counts) == 1


def test_a_decoder_is_freed_at_once() -> None:
    """A cycle of references would keep the caches of all batches since Python last looked for cycles."""
    gc.disable()
    try:
        fixed = decoder(torch.device("cpu"), branching=True)
        with torch.no_grad():
            fixed.step(torch.ones(3, 2, dtype=torch.long))
        left = weakref.ref(fixed)
        del fixed
        assert left() is None
    finally:
        gc.enable()
