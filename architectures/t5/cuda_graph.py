"""A step that a GPU repeats by itself: one CUDA graph instead of hundreds of launches by the CPU."""

from collections.abc import Callable

import torch
from torch import Tensor


class CUDAGraph:
    """A step that reads and writes the same memory each time, replayed as a CUDA graph from the second time on.

    The first time it runs as it is, because libraries allocate what they need when they are first used. A replay
    repeats the kernels alone: whatever else the step does, such as counting in Python, is done twice and never again.

    Args:
        step: Function of no arguments that waits for nothing and whose tensors have shapes that depend on no values.
        device: The GPU on which it computes.
    """

    def __init__(self, step: Callable[[], Tensor], device: torch.device) -> None:
        self.step, self.device = step, device
        self.calls = 0

    def __call__(self) -> Tensor:
        """Return the step's result, which the next call overwrites."""
        self.calls += 1
        if self.calls == 1:
            return self.step()
        with torch.cuda.device(self.device):
            if self.calls == 2:
                self._capture()
            self.graph.replay()
        return self.result

    def _capture(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        # Not by `torch.cuda.graph`, which first collects garbage and frees unused memory: too slow for every batch.
        # Other threads, such as one that copies the next batch, may go on with what a capture forbids.
        with torch.cuda.stream(side):
            self.graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.result = self.step()
            finally:
                self.graph.capture_end()
        current.wait_stream(side)


def captured(step: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Return a step as a CUDA graph on a GPU, and as it is elsewhere; see `CUDAGraph`."""
    return CUDAGraph(step, device) if device.type == "cuda" else step
