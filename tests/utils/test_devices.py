"""Copies to a device for which nothing waits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from utils.devices import free_bytes, send

CPU, META = torch.device("cpu"), torch.device("meta")


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.ones(3)
    assert send(tensor, CPU) is tensor
    assert free_bytes(CPU) == 0


def test_a_gpu_gets_a_copy_of_pinned_memory_and_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, object]] = []

    def pin(tensor: Tensor) -> Tensor:
        calls.append(("pin", tensor.tolist()))
        return tensor

    to = Tensor.to

    def copy(tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
        calls.append(("to", non_blocking))
        return to(tensor, device)

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(Tensor, "to", copy)
    there = send(torch.tensor([1, 2]), META)
    assert calls == [("pin", [1, 2]), ("to", True)]
    assert there.device == META
    assert send(there, META) is there  # nothing is pinned
    assert len(calls) == 3
