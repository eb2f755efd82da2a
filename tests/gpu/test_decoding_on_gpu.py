"""On a GPU, where one step of decoding is captured and replayed, searches find what they find on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from architectures.t5 import fixed_step
from architectures.t5.cuda_graph import CUDAGraph
from architectures.t5.generation import generate
from tests.architectures.t5.generated import ending, score_size, sources
from tests.architectures.t5.oracle import make_pair
from tests.architectures.t5.test_fixed_step import SEARCHES
from tests.close import assert_close

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_a_replayed_step_finds_what_the_cpu_finds(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make_pair(ending("tied"))
    sequences, scores = generate(model, **sources(32), max_length=15, **options)
    size = score_size(model, sources(32), sequences, options.get("length_penalty", 1.0))

    graphs: list[CUDAGraph] = []

    def graph(device: torch.device) -> CUDAGraph:
        graphs.append(CUDAGraph(device))
        return graphs[-1]

    monkeypatch.setattr(fixed_step, "CUDAGraph", graph)
    there = {name: tensor.cuda() for name, tensor in sources(32).items()}
    found, found_scores = generate(model.cuda(), **there, max_length=15, **options)
    assert torch.equal(found.cpu(), sequences)
    assert_close(found_scores.cpu(), scores, size=size)
    assert max(graph.calls for graph in graphs) > 2
