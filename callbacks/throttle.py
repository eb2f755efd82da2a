"""A limit on how often something happens."""

import time
from collections.abc import Callable

from utils.checks import check_interval


class Throttle:
    """Limit on how often something happens.

    Args:
        every_n_seconds: Minimum time from one time to the next, in seconds; the first time is always due.
        clock: Returns seconds since any fixed moment.
    """

    def __init__(self, every_n_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = check_interval("every_n_seconds", every_n_seconds)
        self._clock = clock
        self._last: float | None = None

    def due(self) -> bool:
        """Return whether enough time has passed since the last True; if so, the interval starts again."""
        now = self._clock()
        if self._last is not None and now - self._last < self._seconds:
            return False
        self._last = now
        return True

    def restart(self) -> None:
        """Start the interval again."""
        self._last = self._clock()
