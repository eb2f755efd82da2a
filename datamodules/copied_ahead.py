"""Prefetching: batches are copied to the device before they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from utils.devices import send

Batch = TypeVar("Batch")


def copied_ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches on a device, each copied there while the one before it is in use.

    A GPU copies while it computes, in a separate stream, and nothing here waits for it. For the CPU, the batches are
    yielded as they are.

    Args:
        batches: Batches whose tensors are on the CPU.
        device: Device on which they are needed.
    """
    if device.type == "cpu":
        yield from batches
        return
    stream = _stream_of_copies(device) if device.type == "cuda" else None
    before: tuple[Batch, torch.cuda.Event | None] | None = None
    for batch in batches:
        copied = _start_copy(batch, device, stream)
        if before is not None:
            yield _for_use(*before)
        before = copied
    if before is not None:
        yield _for_use(*before)


@lru_cache
def _stream_of_copies(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream in which a GPU copies: memory that is freed in one is not used again in another."""
    return torch.cuda.Stream(device)


def _start_copy(
    batch: Batch, device: torch.device, stream: torch.cuda.Stream | None
) -> tuple[Batch, torch.cuda.Event | None]:
    """Return a batch on a device, and the event that marks the end of the copy."""
    with torch.cuda.stream(stream):  # does nothing for None
        copied = apply_to_collection(batch, Tensor, send, device)
        return copied, None if stream is None else stream.record_event()


def _for_use(batch: Batch, copied: torch.cuda.Event | None) -> Batch:
    """Return a batch, after making the stream of the computations wait for its copy."""
    if copied is not None:
        computations = torch.cuda.current_stream()
        computations.wait_event(copied)
        # The memory of the batch must not be reused before these computations are done
        apply_to_collection(batch, Tensor, Tensor.record_stream, computations)
    return batch
