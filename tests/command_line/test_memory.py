"""Freed memory is kept for the next tensors."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_freed_memory_is_kept_for_the_next_tensors():
    code = """if True:
        import resource, torch
        from command_line.memory import keep_freed_memory
        keep_freed_memory()
        for _ in range(20):
            torch.ones(2**24)  # 64 MB: 16,384 pages
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.ones(2**24)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        """
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(answer.stdout) < 16_384  # and not 20 times as many
