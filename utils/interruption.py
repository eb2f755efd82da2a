"""SIGTERM, SIGUSR1 and Ctrl-C: an exception at once or, during training, a request to stop.

SIGUSR1 is what job schedulers are asked to send before a job's time is up. `ResumeCheckpoint`
(`callbacks/run/resume_checkpoint.py`) acts on the request, on all processes at the same step: it saves before the next
step or epoch, or within a validation, and raises `Interrupted`, which `cli.main` turns into exit code 130, 138 or 143.

A signal handler writes nothing and communicates with no other process.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGUSR1", "SIGTERM") if hasattr(signal, name))
"""What stops a program; the first of them prevails where several processes have received different ones.

After SIGUSR1 a job is queued again, even if its time was up, and SIGTERM came, before the last step had ended.
"""


class Interrupted(BaseException):
    """The end of the program by a signal.

    Like `KeyboardInterrupt` it is not an `Exception`. It is a separate class because Lightning exits with code 1 on
    `KeyboardInterrupt`.

    Args:
        number: The signal.
    """

    def __init__(self, number: int):
        self.signal = signal.Signals(number)
        # Optimizer steps since the program started, if all processes have stopped after the same one and saved it
        self.saved_steps: int | None = None
        super().__init__("Ctrl-C" if self.signal == signal.SIGINT else self.signal.name)

    @property
    def exit_code(self) -> int:
        """What a shell reports for a program that the signal has ended, such as 143."""
        return 128 + self.signal


_active = False
_deferred = False
_leaving = False
_requested: int | None = None


@contextmanager
def signals_raise() -> Iterator[None]:
    """Raise `Interrupted` where a signal arrives in the block, or, while `defer` is on, note the request.

    Only the main thread of a process can handle signals: in any other, nothing changes.
    """
    global _active, _leaving, _requested
    earlier = {number: signal.getsignal(number) for number in SIGNALS}
    _active, _leaving, _requested = True, False, None
    defer(False)
    try:
        yield
    finally:
        _active, _leaving, _requested = False, False, None
        if _in_main_thread():
            for number, handler in earlier.items():
                signal.signal(number, handler)


def defer(on: bool) -> None:
    """Set whether a signal only requests a stop; a second Ctrl-C stops at once.

    A second signal of another kind changes nothing: a scheduler sends SIGUSR1, SIGTERM, or both, more than once, and to
    several processes that pass it on to each other.

    The handlers are installed again, replacing those that Lightning has installed in the meantime. Outside of
    `signals_raise`, as in a notebook, nothing changes.
    """
    global _deferred
    _deferred = on
    if _active and _in_main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def urgency(number: int | None) -> int:
    """Return a number that is larger the more a signal prevails over others; 0 for none."""
    return 0 if number is None else len(SIGNALS) - SIGNALS.index(number)


def of_urgency(number: int) -> int | None:
    """Return the signal whose `urgency` this is; None for 0."""
    return SIGNALS[len(SIGNALS) - number] if number else None


def requested() -> int | None:
    """Return the signal that has requested a stop; None if there was none."""
    return _requested


def leave() -> None:
    """Ignore SIGTERM and SIGUSR1 from now on, because the program is about to end; Ctrl-C still ends it at once."""
    global _leaving
    _leaving = True


def stop(number: int) -> NoReturn:
    """Call `leave`, then raise `Interrupted` for a signal that any process has received.

    Raises:
        Interrupted: Always.
    """
    global _requested
    _requested = number
    leave()
    raise Interrupted(number)


def raise_requested() -> None:
    """Raise `Interrupted` if a signal has requested a stop."""
    if _requested is not None:
        raise Interrupted(_requested)


def _handle(number: int, frame: FrameType | None) -> None:
    global _requested
    if _leaving and number != signal.SIGINT:
        return
    impatient = _requested is not None and number == signal.SIGINT
    if _requested is None or number == signal.SIGINT:
        _requested = number
    if impatient or _leaving or not _deferred:
        raise Interrupted(number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
