"""Trainings that are not made: a score per epoch as a function of the flags."""

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from sweeps import training

EPOCHS = 3


class Killed(BaseException):
    """Stands for `kill -9`: nothing of this process runs on."""


class FakeTrainings:
    """What was started, and what each training leaves in its folder.

    Attributes:
        started: The command lines.
        kill_at: Number of the training, from 0, that is killed after its first epoch, with this process.
        codes: Exit codes of trainings, by number; 0 for all others.
    """

    def __init__(self, score: Callable[[dict[str, str]], float]):
        self.score = score
        self.started: list[list[str]] = []
        self.kill_at: int | None = None
        self.codes: dict[int, int] = {}

    def follow(self, args: Sequence[str], folder: Path, look: training.Look) -> int:
        number = len(self.started)
        self.started.append(list(args))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / training.LOG).write_text(f"oneforall: error: training {number} failed\n")
        (folder / "config.yaml").write_text(yaml.safe_dump({"checkpoint": {"monitor": "val/accuracy", "mode": "max"}}))
        if code := self.codes.get(number):
            return code
        final = self.score(flags_of(args))
        for epoch in range(EPOCHS):  # rises to the score, and falls after it
            self._write(folder, [final - abs(done - EPOCHS + 2) for done in range(epoch + 1)])
            if look():
                return 143
            if number == self.kill_at:
                raise Killed
        return 0

    @staticmethod
    def _write(folder: Path, scores: list[float]) -> None:
        with (folder / "metrics.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["epoch", "step", "val/accuracy", "train/loss"])
            for epoch, score in enumerate(scores):
                rows.writerow([epoch, 10 * epoch + 9, "", 1.0])
                rows.writerow([epoch, 10 * epoch + 9, repr(score), ""])


def flags_of(args: Sequence[str]) -> dict[str, str]:
    """The flags of a command line by name, of either form."""
    flags = {}
    for place, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name.startswith("--"):
            flags[name.removeprefix("--")] = value if equals else (*args, "")[place + 1]
    return flags


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTrainings:
    """Trainings whose best score is that of the lr nearest to 0.1."""
    monkeypatch.chdir(tmp_path)
    fake = FakeTrainings(lambda flags: -abs(math.log10(float(flags["model.optimizer.lr"])) + 1))
    monkeypatch.setattr(training, "follow", fake.follow)
    return fake
