"""Trainings take turns: none goes on before it is told to, and each says how long its turn took."""

import itertools
import multiprocessing
import time

import pytest
import torch

from benchmarks.paired import compare
from benchmarks.turns import Training, Turns
from tests.benchmarks.turns_in_process import Connection, OverError

CPU = torch.device("cpu")


def sleep(turns: Turns, seconds: float) -> None:
    """A training whose every step takes a while."""
    turns.facts |= {"seconds": seconds, "workers start by": multiprocessing.get_start_method()}
    while True:
        time.sleep(seconds)
        turns.step()


def fail(turns: Turns) -> None:
    """A training that ends at once."""


def test_turns_have_their_number_of_steps_and_the_warm_up_its_own():
    connection, steps = Connection(turns=2), itertools.count(1)
    turns = Turns(connection, steps=3, warm_up=5, device=CPU)

    def train() -> None:
        while True:
            next(steps)
            turns.step()

    with pytest.raises(OverError):
        train()
    assert next(steps) == 1 + 5 + 2 * 3
    assert len(connection.sent) == 3
    assert all(measured.peak_mib > 10 for measured in connection.sent)


def test_processes_take_turns_and_the_slower_takes_longer():
    with Training(sleep, 2, 1, CPU, seconds=0.05) as ours, Training(sleep, 2, 1, CPU, seconds=0.15) as theirs:
        assert theirs.ready().result == {"seconds": 0.15, "workers start by": multiprocessing.get_start_method()}
        found = compare("x", "x", {"ours": ours, "theirs": theirs}, str, rounds=3, warm_up=0)
        # Nobody has gone on while the other had its turn: a turn that was half over would be short
        assert min(found.times["ours"]) >= 2 * 0.05
        assert min(found.times["theirs"]) >= 2 * 0.15
    assert not ours._process.is_alive()


def test_a_training_that_ends_is_an_error():
    with Training(fail, 1, 1, CPU) as training, pytest.raises(RuntimeError, match="fail has ended before its turns"):
        training()
