"""Copies to a device for which nothing waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from utils.devices import _memory_limits, free_bytes, memory_bytes, send

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


@pytest.mark.parametrize(
    ("line", "files", "limits"),
    [
        ("0::/job/step", {"job/step/memory.max": "max", "job/memory.max": "1000"}, [1000]),
        ("0::/job/step", {"job/step/memory.max": "500", "job/memory.max": "1000"}, [500, 1000]),
        ("5:cpu,memory:/docker/1", {"memory/memory.limit_in_bytes": "700", "memory.max": "1"}, [700]),  # in a container
        ("4:cpuset:/job", {"memory/job/memory.limit_in_bytes": "700", "job/memory.max": "1"}, []),
        ("0::/", {}, []),
    ],
)
def test_memory_has_the_limits_of_the_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, files: dict[str, str], limits: list[int]
) -> None:
    (tmp_path / "groups").write_text(line + "\n")
    for name, content in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(content + "\n")
    found = list(_memory_limits(tmp_path / "groups", tmp_path / "root"))
    assert found == limits
    monkeypatch.setattr("utils.devices._memory_limits", lambda: found)
    assert memory_bytes() == (min(limits) if limits else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    assert list(_memory_limits(tmp_path / "none")) == []
