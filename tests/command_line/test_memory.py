"""Freed memory is kept for the next tensors, and large ones are on huge pages."""

import ctypes
import os
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


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="another system than Linux")
@pytest.mark.parametrize("by_user", [None, "0"])
def test_tensors_are_on_huge_pages_unless_the_user_turns_them_off(by_user):
    code = """if True:
        import sys
        from command_line import start
        sys.argv[1:] = ["configs"]
        start.run_tool = lambda args: 0  # all that comes before the imports of a command
        try:
            start.main()
        except SystemExit:
            pass
        import torch
        tensor = torch.ones(2**24)  # 64 MB
        flags = [line.split() for line in open("/proc/self/smaps") if line.startswith("VmFlags")]
        print(any("hg" in each for each in flags))
    """
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    if by_user is not None:
        environment["THP_MEM_ALLOC_ENABLE"] = by_user
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(by_user is None)]
