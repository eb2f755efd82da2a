"""Calls with a timeout, for when a program has little time left."""

import threading
from collections.abc import Callable
from contextlib import suppress

SECONDS = 30.0
"""How long a run that is stopping waits for a server: a cluster allows two minutes for everything."""


def call_in_time(function: Callable[[], object]) -> None:
    """Call a function, wait at most `SECONDS` for it, and ignore its failure."""

    def call() -> None:
        with suppress(Exception):
            function()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(SECONDS)
