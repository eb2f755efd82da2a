"""Turns of a training within the process of the test."""

from typing import Any


class OverError(Exception):
    """The turns are over."""


class Connection:
    """The end of a training's connection that tells it to go on for some turns, and keeps what it reports."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.sent: list[Any] = []

    def send(self, measured: Any) -> None:
        self.sent.append(measured)

    def recv(self) -> bool:
        if len(self.sent) > self.turns:
            raise OverError
        return True
