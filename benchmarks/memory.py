"""Peak memory of a piece of work: what torch allocates on a GPU, the resident size of the process on a CPU."""

import re
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


class PeakMemory:
    """The maximum memory held while a `with` block ran, in MiB; None where the system does not tell.

    On a CPU it is the resident size of the whole process, so it includes whatever else the process holds. Only Linux
    can forget an earlier peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.mib: float | None = None
        self.more_mib: float | None = None  # of it, what was not held when the block began

    def __enter__(self) -> "PeakMemory":
        """Forget what was held before."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.forgot = True
        else:
            self.forgot = forget_peak()
        self._before = peak_mib(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        """Read the peak."""
        if not self.forgot:
            return
        self.mib = peak_mib(self.device)
        if self.mib is not None and self._before is not None:
            self.more_mib = self.mib - self._before


def peak_mib(device: torch.device) -> float | None:
    """Return the peak memory so far in MiB; None where the system does not tell.

    A process does not begin at 0 by itself: Linux has it inherit the peak of the one that started it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = (PROCESS / "status").read_text(encoding="utf-8")
    except OSError:
        return None
    peak = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(peak[1]) / 2**10 if peak else None


def forget_peak() -> bool:
    """Set the peak of the resident size to its present value; return whether that was possible."""
    try:
        (PROCESS / "clear_refs").write_text("5", encoding="utf-8")  # proc(5)
    except OSError:
        return False
    return True
