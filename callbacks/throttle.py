"""How often something may happen at most."""

import time
from collections.abc import Callable

from utils.checks import check_at_least


class Throttle:
    """Says whether enough time has passed since it last said yes.

    Args:
        seconds: Minimum time between two yeses; the first question is always answered yes.
        clock: Returns seconds since any fixed moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = check_at_least("seconds", seconds)
        self.clock = clock
        self._last: float | None = None

    def due(self) -> bool:
        """Return True, and begin the wait again, if at least `seconds` have passed."""
        now = self.clock()
        if self._last is not None and now - self._last < self.seconds:
            return False
        self._last = now
        return True
