"""Processes of one machine that watch each other, so that none waits forever for one that has died.

Lightning starts a process per device, and watches them from the first: five seconds after one has failed it kills all,
without a message, even if the first is about to end by itself. No process notices the death of the first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from lightning.pytorch.strategies.launchers import subprocess_script as launcher

from command_line.error_line import print_error
from command_line.watch_parent import stop_without_parent
from utils import interruption

FIRST_PROCESS_VARIABLE = "ONEFORALL_FIRST_PROCESS"
"""Environment variable that tells the processes that Lightning starts which process has started them."""

PERIOD = 0.5
GRACE = 20.0
"""How many seconds a process has to end by itself after another one has died: its connections break."""


def watch_processes() -> None:
    """Watch the first process from those that it starts, and those from the first when it starts them."""
    stop_without_parent()
    first = os.getppid()
    if os.environ.get(FIRST_PROCESS_VARIABLE) == str(first) and "LOCAL_RANK" in os.environ:
        _start(lambda: _watch_first(first))
    os.environ[FIRST_PROCESS_VARIABLE] = str(os.getpid())
    vars(launcher)["_launch_process_observer"] = lambda children: _start(lambda: _watch_children(children))


def _start(watch: Callable[[], None]) -> None:
    threading.Thread(target=watch, daemon=True, name="oneforall-watch").start()


def _watch_first(first: int) -> None:
    while os.getppid() == first:
        time.sleep(PERIOD)
    time.sleep(GRACE)
    _give_up("rank 0 has died")


def _watch_children(children: list[subprocess.Popen[bytes]]) -> None:
    failed: list[tuple[int, int]] = []
    while not failed:
        time.sleep(PERIOD)
        codes = [child.poll() for child in children]
        # Those that end by a signal do so together with this process, which may have more to write
        expected = (0, *(128 + number for number in interruption.SIGNALS)) if interruption.requested() else (0,)
        failed = [(rank, code) for rank, code in enumerate(codes, start=1) if code is not None and code not in expected]
        if None not in codes and not failed:
            return
    time.sleep(GRACE)
    for child in children:
        child.kill()
    rank, code = failed[0]
    _give_up(f"rank {rank} {f'was killed by {signal.Signals(-code).name}' if code < 0 else f'exited with code {code}'}")


def _give_up(reason: str) -> None:
    """End this process, which does not do so by itself."""
    print_error(f"{reason}; this process did not end by itself")
    os._exit(1)
