"""Conditions of a figure besides the config: the processor, the versions, and the commit of the program."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


def processor_facts() -> dict[str, str]:
    """Return what Linux says of the first processor, such as its `vendor_id` and `flags`; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:  # not on Linux
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor() -> str:
    """Return the model name of the processor."""
    return processor_facts().get("model name") or platform.processor() or platform.machine()


def cores() -> int | None:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def versions() -> dict[str, str]:
    """Return the versions of torch, Lightning and Python."""
    import lightning
    import torch

    return {
        "torch": str(torch.__version__),
        "lightning": str(lightning.__version__),
        "Python": platform.python_version(),
    }


@cache
def commit(root: Path = ROOT) -> str | None:
    """Return the commit of the program, with "+changes" if files differ from it.

    `results/` does not count: it has no code. The answer is that of the first call, early in the process: a later edit
    does not change the code that runs.

    Args:
        root: The checkout.

    Returns:
        The first nine digits; None without git, or if `root` is not a checkout, as after `pip install` (into a folder
        that may be within somebody's checkout of something else).
    """
    try:
        top, number = _git(root, "rev-parse", "--show-toplevel", "--short=9", "HEAD").splitlines()
        if Path(top) != root.resolve():
            return None
        changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{number}+changes" if changes else number


def _git(root: Path, *command: str) -> str:
    return subprocess.run(
        ["git", "--no-optional-locks", *command], cwd=root, capture_output=True, check=True, text=True
    ).stdout.strip()
