"""A step that a GPU repeats by itself: one CUDA graph instead of hundreds of launches by the CPU."""

from collections.abc import Callable

import torch
from torch import Tensor


class CUDAGraph:
    """Repeats a step: on a GPU, as a CUDA graph that is captured the second time and replayed from then on.

    The first time the step runs as it is, because libraries allocate what they need when they are first used. A replay
    repeats the kernels alone: whatever else the step does, such as counting in Python, is done twice and never again.

    Args:
        device: The device on which the step computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.calls = 0

    def __call__(self, step: Callable[[], Tensor]) -> Tensor:
        """Return the step's result, which the next call overwrites.

        Args:
            step: The same function each time. It reads and writes the same memory, waits for nothing, and has no tensor
                whose shape depends on values. It is not kept: a step that holds its graph would be freed late.
        """
        self.calls += 1
        if self.calls == 1 or self.device.type != "cuda":
            return step()
        with torch.cuda.device(self.device):
            if self.calls == 2:
                self._capture(step)
            self.graph.replay()
        return self.result

    def _capture(self, step: Callable[[], Tensor]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        # Not by `torch.cuda.graph`, which first collects garbage and frees unused memory: too slow for every batch.
        # Other threads, such as one that copies the next batch, may go on with what a capture forbids.
        with torch.cuda.stream(side):
            self.graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.result = step()
            finally:
                self.graph.capture_end()
        current.wait_stream(side)
