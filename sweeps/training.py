"""A subprocess that runs a command of the program, followed until it ends.

It has its own memory and signals. It gets each signal once: it is not in the terminal's foreground, so Ctrl-C reaches
this process, which passes it on. If this process dies, the subprocess saves and stops by itself
(`command_line/watch_parent.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from command_line.error_line import PREFIX
from command_line.watch_parent import PARENT_VARIABLE
from utils import interruption
from utils.lock import FolderLock

PROGRAM = Path(__file__).resolve().parents[1] / "cli.py"
LOG = "output.log"
"""File of a run folder with what the command printed."""

Look = Callable[[], bool]
"""Function that reads the state of a run and returns whether to stop it."""

MISTAKE = 2
"""Exit code after a user's mistake."""

PERIOD = 0.2
"""Time between two looks at a run, in seconds."""
PATIENCE = 120.0
"""Maximum time that a process left behind by another sweep may take to save and stop, in seconds."""


def follow(args: Sequence[str], folder: Path, look: Look) -> int:
    """Run `oneforall ARGS` and return its exit code, negative for the signal that killed it.

    Args:
        args: The command line.
        folder: The run folder, whose `output.log` gets what it prints.
        look: Called every `PERIOD` and once after the end; if it returns true, the command gets SIGTERM.

    Raises:
        interruption.Interrupted: A second Ctrl-C; the command is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _wait_until_free(folder)
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *args],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
        )
        try:
            _follow(process, look)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    look()
    return process.returncode


def last_line(folder: Path) -> str:
    """Return the last line that a command printed into a run folder, without the prefix of errors."""
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n") if (folder / LOG).is_file() else []
    printed = [line.strip() for line in lines if line.strip()]
    return printed[-1].removeprefix(PREFIX) if printed else "it printed nothing"


def _follow(process: subprocess.Popen[bytes], look: Look) -> None:
    signalled = False
    while process.poll() is None:
        number = interruption.requested() or (signal.SIGTERM if look() else None)
        if number is not None and not signalled:
            process.send_signal(number)
            signalled = True
        time.sleep(PERIOD)


def _wait_until_free(folder: Path) -> None:
    """Wait for a process that still writes into the folder: it stops, because whoever started it is gone.

    Raises:
        BlockingIOError: It does not stop.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            FolderLock(folder).release()
            return
        except BlockingIOError:
            if time.monotonic() > until or interruption.requested():
                raise
            time.sleep(PERIOD)
