"""Processes that write files, and what they leave, for the tests of `utils/files.py`."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTS = """import os, sys, time
from pathlib import Path
from utils.files import atomic_folder, atomic_path, write_text
"""


def python(code: str, *arguments: object, **options: int) -> subprocess.Popen[str]:
    """Start a process that runs `code` with `atomic_path`, `atomic_folder` and `write_text` imported."""
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + code, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def start_inside(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs `code` until it prints "inside" and waits for a line to end its block."""
    process = python(code, *arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
