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

    def __enter__(self) -> "PeakMemory":
        """Forget what was held before."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.forgot = True
        else:
            self.forgot = _forget_peak()
        return self

    def __exit__(self, *_: object) -> None:
        """Read the peak."""
        if not self.forgot:
            return
        if self.device.type == "cuda":
            self.mib = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            status = (PROCESS / "status").read_text(encoding="utf-8")
            peak = re.search(r"VmHWM:\s*(\d+) kB", status)
            self.mib = int(peak[1]) / 2**10 if peak else None


def _forget_peak() -> bool:
    """Set the peak of the resident size to its present value; return whether that was possible."""
    try:
        (PROCESS / "clear_refs").write_text("5", encoding="utf-8")  # proc(5)
    except OSError:
        return False
    return True
