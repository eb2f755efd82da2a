"""The trials of a sweep as Optuna keeps them."""

import tracemalloc
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from sweeps.scores import Monitor
from sweeps.space import Choices
from sweeps.study import Study


def test_a_million_combinations_are_not_listed_for_three_trials(tmp_path: Path) -> None:
    study = Study(tmp_path / "sweep.db", {f"field{number}": Choices(tuple(range(10))) for number in range(6)})
    # What is imported for the first study of a process would take three times as long while memory is traced
    Study(tmp_path / "first.db", {"field": Choices((0, 1))}).begin({}, {}, Monitor("val/accuracy", "max"), trials=1)
    tracemalloc.start()
    study.begin({}, {}, Monitor("val/accuracy", "max"), trials=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # bytes


def test_numbers_that_are_close_are_combinations_of_their_own(tmp_path: Path) -> None:
    space = {"seed_everything": Choices((100_000, 100_001)), "model.tta": Choices(("none", "flip"))}
    study = Study(tmp_path / "sweep.db", space)
    study.begin({}, {}, Monitor("val/accuracy", "max"), trials=4)
    assert study.queued() == 4
    study.queue_grid(4)
    assert study.queued() == 4
    tried = []
    for score in range(4):
        trial = study.next_trial()
        tried.append(tuple(study.values(trial).values()))
        study.complete(trial, float(score))
        study.queue_grid(4)
    assert len(set(tried)) == 4
    assert study.queued() == 0
