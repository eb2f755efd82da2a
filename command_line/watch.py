"""Processes of one machine that watch each other, so that none waits forever for one that has died.

Lightning starts a process per device, and watches them from the first: it kills all, without a word, five seconds after
one has failed, even if the first is about to end by itself, and no process notices the death of the first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from lightning.pytorch.strategies.launchers import subprocess_script as launcher

from utils import interruption

FIRST_PROCESS_VARIABLE = "ONEFORALL_FIRST_PROCESS"
"""Environment variable that tells the processes that Lightning starts which process has started them."""

PERIOD = 0.5
GRACE = 20.0
"""How many seconds a process has to end by itself after another one has died: its connections break."""


def watch_processes() -> None:
    """Watch the first process from those that it starts, and, when it starts them, those from the first."""
    first = os.environ.setdefault(FIRST_PROCESS_VARIABLE, str(os.getpid()))
    if int(first) == os.getppid():
        _start(lambda: _watch_first(int(first)))
    vars(launcher)["_launch_process_observer"] = lambda children: _start(lambda: _watch_children(children))


def _start(watch: Callable[[], None]) -> None:
    threading.Thread(target=watch, daemon=True, name="oneforall-watch").start()


def _watch_first(first: int) -> None:
    while os.getppid() == first:
        time.sleep(PERIOD)
    time.sleep(GRACE)
    _give_up("rank 0 has died")


def _watch_children(children: list[subprocess.Popen[bytes]]) -> None:
    while True:
        time.sleep(PERIOD)
        codes = [child.poll() for child in children]
        if all(code == 0 for code in codes):
            return
        if failed := [(rank, code) for rank, code in enumerate(codes, start=1) if code]:
            break
    time.sleep(GRACE)
    if interruption.requested():  # all of them stop, and this one may have more to write
        return
    for child in children:
        child.kill()
    rank, code = failed[0]
    _give_up(f"rank {rank} {f'was killed by {signal.Signals(-code).name}' if code < 0 else f'ended with code {code}'}")


def _give_up(reason: str) -> None:
    """End this process, which does not do so by itself."""
    print(f"oneforall: error: {reason}; this process did not end by itself", file=sys.stderr, flush=True)
    os._exit(1)
