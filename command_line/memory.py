"""The memory that tensors free, which glibc keeps for the next ones."""

from __future__ import annotations

import ctypes
import sys


def keep_freed_memory() -> None:
    """Have glibc keep the memory that tensors free, for the next ones.

    Otherwise a tensor above 32 MB goes back to the system, and the next of its size is a fresh mapping whose every page
    faults and is zeroed: over half the CPU time of a test of MobileNetV2 (results/LOG.md). Only glibc has `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
