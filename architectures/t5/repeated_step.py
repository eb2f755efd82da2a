"""A step that a GPU repeats by itself: one CUDA graph instead of hundreds of launches by the CPU."""

import gc
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    stream: torch.cuda.Stream


_LOCKS: defaultdict[torch.device, threading.RLock] = defaultdict(threading.RLock)


def alone_on(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which no other thread repeats steps on a GPU: their graphs share memory."""
    return _LOCKS[device] if device.type == "cuda" else nullcontext()


class RepeatedStep:
    """Repeats a step: on a GPU, as a CUDA graph that is captured the second time and replayed from then on.

    The first time the step runs as it is, because libraries allocate what they need when they are first used. A replay
    repeats the kernels alone: whatever else the step does, such as counting in Python, is done twice and never again.
    Once the step of another object has been captured on the same device, this one must not be repeated any more
    (`alone_on`).

    Args:
        device: The device on which the step computes.
    """

    _last: ClassVar[dict[torch.device, _Captured]] = {}
    """The last graph of each device. The next one takes over its memory, which nothing else could use before PyTorch
    gives back all that is unused; it can only do so while that graph exists, and on the same stream."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.calls = 0

    def __call__(self, step: Callable[[], Tensor]) -> Tensor:
        """Return the step's result, which the next call overwrites.

        Args:
            step: The same function each time. It reads and writes the same memory, waits for nothing, and has no tensor
                whose shape depends on values. It is not kept: a step that belongs to what holds this object would form
                a cycle of references with it, which Python frees only when it looks for cycles.
        """
        self.calls += 1
        if self.calls == 1 or self.device.type != "cuda":
            return step()
        with torch.cuda.device(self.device):
            if self.calls == 2:
                self._capture_with_memory(step)
            self.graph.replay()
        return self.result

    def _capture_with_memory(self, step: Callable[[], Tensor]) -> None:
        """Capture the step, with all unused memory if need be: a capture cannot take what PyTorch holds in reserve."""
        with suppress(torch.OutOfMemoryError):
            self._capture(step)
            return
        self._last.pop(self.device, None)
        torch.cuda.empty_cache()
        self._capture(step)

    def _capture(self, step: Callable[[], Tensor]) -> None:
        """Capture the step, which computes nothing; its tensors, the result among them, lie in the graph's own memory.

        Not by `torch.cuda.graph`, which waits for the GPU and gives back all unused memory first: too slow for every
        batch. Other threads, such as one that copies the next batch, may go on with what a capture forbids.
        """
        last = self._last.get(self.device)
        graph, side = torch.cuda.CUDAGraph(), last.stream if last else torch.cuda.Stream()
        current = torch.cuda.current_stream()  # the default stream cannot be captured
        side.wait_stream(current)
        with torch.cuda.stream(side), _no_garbage_collection():
            graph.capture_begin(last.graph.pool() if last else None, capture_error_mode="thread_local")
            try:
                self.result = step()
            except BaseException:
                with suppress(RuntimeError):  # says only that there was an error
                    graph.capture_end()
                raise
            graph.capture_end()
        current.wait_stream(side)
        self.graph = graph
        self._last[self.device] = _Captured(graph, side)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Free no cycles of objects meanwhile: to free another graph or compiled code would break a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
