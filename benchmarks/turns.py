"""Training runs that take turns, each in its own process: some steps of one, then as many of the other.

Training cannot be called for three steps and then paused, so it runs in a process that stops after each turn until it
is told to continue. Start, imports, compilation and the first steps are over before the first turn is timed, and each
process has the allocator, the settings and the peak memory that it would have alone.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.memory import forget_peak, peak_mib
from benchmarks.paired import Measured

Train = Callable[..., None]
"""A training function: one of a module (not a closure), whose first argument is its `Turns`."""

PATIENCE = 20.0
"""Seconds that a process is given to end."""


class Turns:
    """The training's side: counts its steps, and waits after each turn.

    Args:
        connection: To the process that compares.
        steps: Steps per turn.
        warm_up: Steps before the first turn.
        device: Where the training runs.
    """

    def __init__(self, connection: Connection, steps: int, warm_up: int, device: torch.device) -> None:
        self.connection = connection
        self.steps = steps
        self.device = device
        self.facts: dict[str, Any] = {}
        """What the training reports about its work, for the check."""
        self._left = warm_up
        self._start = time.perf_counter()

    def step(self) -> None:
        """Count an optimizer step that has just ended; after the last of a turn, report and wait for the next."""
        self._left -= 1
        if self._left > 0:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - self._start
        try:
            self.connection.send(Measured(seconds, peak_mib(self.device), self.facts))
            self.connection.recv()
        except (EOFError, BrokenPipeError):
            raise SystemExit from None  # not at once: loader workers end with their loader
        self._left = self.steps
        self._start = time.perf_counter()


class Training:
    """The other side: a contestant whose call is one turn. A `with` block ends its process.

    Args:
        train: The training.
        steps: Steps per turn.
        warm_up: Steps before the first turn.
        device: Where the training runs.
        **arguments: Passed to `train` after its `Turns`.
    """

    def __init__(self, train: Train, steps: int, warm_up: int, device: torch.device, **arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        method = multiprocessing.get_start_method()
        self._process = context.Process(target=_run, args=(method, child, train, steps, warm_up, device, arguments))
        self._name = train.__name__
        self._process.start()
        child.close()
        self._ready: Measured | None = None

    def ready(self) -> Measured:
        """Wait until the training has warmed up; return how long that took, and what it says of its work."""
        if self._ready is None:
            self._ready = self._receive()
        return self._ready

    def __call__(self) -> Measured:
        """Let it take its turn.

        Raises:
            RuntimeError: The training has ended.
        """
        self.ready()
        self._connection.send(True)
        return self._receive()

    def _receive(self) -> Measured:
        try:
            measured: Measured = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"{self._name} has ended before its turns were over; its error is above") from None
        return measured

    def __enter__(self) -> "Training":
        """Return itself; the process runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(PATIENCE)
        self._process.kill()
        self._process.join()


def _run(
    start_method: str,
    connection: Connection,
    train: Train,
    steps: int,
    warm_up: int,
    device: torch.device,
    arguments: dict[str, Any],
) -> None:
    """Run the training in the new process, without what it prints; its loader workers start as they always do."""
    multiprocessing.set_start_method(start_method, force=True)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    forget_peak()
    train(Turns(connection, steps, warm_up, device), **arguments)
