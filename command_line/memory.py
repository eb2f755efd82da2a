"""The memory of tensors: huge pages, and freed memory that glibc keeps for the next tensors."""

from __future__ import annotations

import ctypes
import os
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


def use_huge_pages() -> None:
    """Have torch ask Linux for pages of 2 MB for tensors above 2 MB; torch reads the variable when it is imported.

    Batches of many shapes fragment the heap, and pages of 4 KB then cost up to a third of the training of a small T5 on
    a CPU (results/LOG.md). A value set by the user is kept: 0 turns it off.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
