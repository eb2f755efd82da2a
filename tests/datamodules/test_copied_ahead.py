"""Batches on the device before they are needed: the order of copies and computations, with streams that only say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.copied_ahead import _stream_of_copies, copied_ahead
from utils.batches import CharBatch


def test_on_the_cpu_a_batch_is_fetched_when_it_is_asked_for() -> None:
    fetched: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(3):
            fetched.append(number)
            yield number

    ahead = copied_ahead(batches(), torch.device("cpu"))
    assert next(ahead) == 0
    assert fetched == [0]
    assert list(ahead) == [1, 2]


class Streams:
    """What a GPU would be told, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.current = "main"
        self.copies = 0
        monkeypatch.setattr("datamodules.copied_ahead._stream_of_copies", lambda device: self)
        cuda: dict[str, Any] = {"stream": self.side, "current_stream": lambda: self}
        for name, fake in cuda.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr("datamodules.copied_ahead.send", self.send)
        monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: self.log.append(f"keep {int(tensor[0])}"))

    @contextmanager
    def side(self, stream: Streams) -> Iterator[None]:
        self.current = "side"
        yield
        self.current = "main"

    def send(self, tensor: Tensor, device: torch.device) -> Tensor:
        self.log.append(f"copy {int(tensor[0])} on {self.current}")
        return tensor

    def record_event(self) -> str:
        assert self.current == "side"
        self.copies += 1
        return f"copied {self.copies - 1}"

    def wait_event(self, event: str) -> None:
        assert self.current == "main"
        self.log.append(f"wait until {event}")


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_gpu_copies_each_batch_while_the_one_before_is_in_use(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)
    batches = [CharBatch(torch.full((2,), step), torch.full((1,), step)) for step in range(number)]
    for step, batch in enumerate(copied_ahead(batches, torch.device("cuda:0"))):
        assert isinstance(batch, CharBatch)
        streams.log.append(f"use {int(batch.targets)}")
        assert step == int(batch.targets)

    def of(step: int) -> dict[str, list[str]]:
        use = [f"wait until copied {step}", f"keep {step}", f"keep {step}", f"use {step}"]
        return {"copy": [f"copy {step} on side"] * 2, "use": use}

    expected = of(0)["copy"] if number else []
    for step in range(number):
        expected += (of(step + 1)["copy"] if step + 1 < number else []) + of(step)["use"]
    assert streams.log == expected


def test_a_device_without_streams_gets_the_batches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", Tensor.clone)
    batches = [(torch.zeros(2), "text", 7), (torch.zeros(3), "more", 8)]
    there = list(copied_ahead(batches, torch.device("meta")))
    assert [(batch.shape, batch.device.type, *rest) for batch, *rest in there] == [
        ((2,), "meta", "text", 7),
        ((3,), "meta", "more", 8),
    ]


def test_all_loaders_copy_in_one_stream_of_their_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    _stream_of_copies.cache_clear()
    first, other = torch.device("cuda:0"), torch.device("cuda:1")
    assert _stream_of_copies(first) is _stream_of_copies(torch.device("cuda:0"))
    assert _stream_of_copies(first) is not _stream_of_copies(other)
    _stream_of_copies.cache_clear()
