"""Watch over the parent process that waits for this one, as a sweep does for its trials: if it dies, this one ends."""

from __future__ import annotations

import os
import signal
import threading
import time

PARENT_VARIABLE = "ONEFORALL_PARENT"
"""Environment variable with the process that waits for this one."""

PERIOD = 0.5


def stop_without_parent() -> None:
    """Have this process save and stop, as after SIGTERM, once the one that waits for it has died."""
    parent = os.environ.pop(PARENT_VARIABLE, "")  # processes that this one starts watch this one
    if parent.isdigit():
        threading.Thread(target=_watch, args=(int(parent),), daemon=True, name="oneforall-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PERIOD)
    os.kill(os.getpid(), signal.SIGTERM)
