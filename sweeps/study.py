"""The trials of a sweep, kept by Optuna in an SQLite file: what each tries, its scores, and how it ended.

A sweep that is killed at any moment loses nothing: a trial is in the file before it trains, and an unfinished one runs
next, with the same values. What a trial tries depends only on its number and the trials before it, so an interrupted
sweep tries the same values as an uninterrupted one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from sweeps.scores import Monitor
from sweeps.space import Choices, Space, Value, combinations
from utils.random_streams import stream_seed

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
DIRECTIONS = {"max": optuna.study.StudyDirection.MAXIMIZE, "min": optuna.study.StudyDirection.MINIMIZE}
SEED = 0
"""Seed of the values that trials take."""

UNPRUNED = 4
"""Number of trials that are never pruned, since a median of so few means little."""


class Study:
    """A sweep's trials.

    Args:
        file: The SQLite file.
        space: The values that each field may take.
        prune: Whether to stop trials that are worse than the median of earlier ones at the same epoch.
    """

    def __init__(self, file: Path, space: Space, prune: bool = True):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.file, self.space = file, space
        self.pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if prune:  # after the first validation, which says little
            self.pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=1)
        self._study: optuna.Study | None = None

    # --- the sweep -------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether the file has a study that was begun."""
        if not self.file.is_file():
            return False
        names = optuna.get_all_study_names(self._storage())
        return bool(names) and "monitor" in self._open().user_attrs

    def begin(self, what: Mapping[str, Any], config: Mapping[str, Any], monitor: Monitor, trials: int) -> None:
        """Create the study.

        Args:
            what: Definition of the sweep as plain values, so that it is not resumed as another one.
            config: The resolved config of its first trial as plain values.
            monitor: The metric that its trials are compared by.
            trials: Number of trials; if that is enough for all combinations of choices, each is tried once.
        """
        self._study = optuna.create_study(
            storage=self._storage(),
            study_name="sweep",
            direction=DIRECTIONS[monitor.mode],
            pruner=self.pruner,
            load_if_exists=True,
        )
        self.queue_grid(trials)
        self._study.set_user_attr("what", dict(what))
        self._study.set_user_attr("resolved", dict(config))
        self._study.set_user_attr("monitor", list(monitor))  # last: this marks the study as begun

    def queue_grid(self, trials: int) -> None:
        """Queue each combination of choices that was not tried, if there are enough trials for all of them."""
        tried = [
            trial.system_attrs.get("fixed_params") or trial.params for trial in self._open().get_trials(deepcopy=False)
        ]
        for values in self._grid(trials):
            if values not in tried:  # Optuna's `skip_if_exists` takes numbers that are close for equal
                self._open().enqueue_trial(values)

    @property
    def what(self) -> dict[str, Any]:
        """The definition of the sweep."""
        return dict(self._open().user_attrs["what"])

    @property
    def config(self) -> dict[str, Any] | None:
        """The resolved config of the first trial when the sweep began; None for one of an earlier version."""
        found: dict[str, Any] | None = self._open().user_attrs.get("resolved")
        return found

    @property
    def monitor(self) -> Monitor:
        """The metric that trials are compared by."""
        return Monitor(*self._open().user_attrs["monitor"])

    # --- its trials ------------------------------------------------------------------------------------------------

    def ended(self) -> list[FrozenTrial]:
        """Return the trials that have ended, in the order of their numbers."""
        return self._open().get_trials(deepcopy=False, states=ENDED)

    def queued(self) -> int:
        """Return the number of trials that are queued."""
        return len(self._open().get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def best(self) -> FrozenTrial | None:
        """Return the best trial that has trained to its end; None without one."""
        complete = self._open().get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return self._open().best_trial if complete else None

    def next_trial(self) -> Trial:
        """Return the trial that has not ended or, without one, a new one."""
        study = self._open()
        unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        number = unfinished[0].number if unfinished else len(self.ended())
        study.sampler = optuna.samplers.TPESampler(seed=stream_seed("sweep", SEED, number) % 2**32)
        # Optuna has no public way to continue a trial of another process
        return Trial(study, unfinished[0]._trial_id) if unfinished else study.ask()

    def values(self, trial: Trial) -> dict[str, Value]:
        """Return the values of a trial: sampled now, or those that it had before."""
        return {field: self._suggest(trial, field) for field in self.space}

    def report(self, trial: Trial, scores: list[float]) -> bool:
        """Note the scores of a trial's validations so far; return whether it is pruned.

        The scores are examined one by one, so that pruning does not depend on when they are read.
        """
        known = self._open().trials[trial.number].intermediate_values
        for step, score in enumerate(scores):
            if step not in known:
                trial.report(score, step)
            if trial.should_prune():
                return True
        return False

    def complete(self, trial: Trial, score: float) -> None:
        """Note that a trial has trained to its end, and its best score."""
        self._open().tell(trial, score)

    def prune(self, trial: Trial) -> None:
        """Note that a trial was pruned."""
        self._open().tell(trial, state=TrialState.PRUNED)

    def was_killed_here(self, trial: Trial, progress: int) -> bool:
        """Return whether a trial that was killed has made no progress since it was killed before, and note it."""
        before = trial.user_attrs.get("killed_at")
        trial.set_user_attr("killed_at", progress)
        return bool(before == progress)

    def cannot_go_on(self, trial: Trial, reason: str) -> bool:
        """Return whether a trial could not start for the reason of the one before, and note it; the second time not.

        It is more likely that something is missing for the moment than that the values of both are bad.
        """
        before = self.ended()[-1:]
        same = bool(before) and before[0].state == TrialState.FAIL and before[0].user_attrs.get("reason") == reason
        told = "told" in trial.user_attrs
        trial.set_user_attr("told", True)
        return same and not told

    def fail(self, trial: Trial, reason: str) -> None:
        """Note that a trial has failed, and why."""
        trial.set_user_attr("reason", reason)
        self._open().tell(trial, state=TrialState.FAIL)

    def _suggest(self, trial: Trial, field: str) -> Value:
        dimension = self.space[field]
        if isinstance(dimension, Choices):
            chosen: Value = trial.suggest_categorical(field, dimension.values)
            return chosen
        if dimension.whole:
            return trial.suggest_int(field, int(dimension.low), int(dimension.high), log=dimension.log)
        return trial.suggest_float(field, dimension.low, dimension.high, log=dimension.log)

    def _grid(self, trials: int) -> list[dict[str, Value]]:
        """Return all combinations of choices if there are enough trials for them; otherwise nothing."""
        number = combinations(self.space)
        if number is None or number > trials:  # a large space has too many to list
            return []
        choices = [each.values for each in self.space.values() if isinstance(each, Choices)]
        return [dict(zip(self.space, values, strict=True)) for values in itertools.product(*choices)]

    def _open(self) -> optuna.Study:
        if self._study is None:
            self._study = optuna.load_study(study_name="sweep", storage=self._storage(), pruner=self.pruner)
        return self._study

    def _storage(self) -> str:
        return f"sqlite:///{self.file.absolute()}"


def plain_space(space: Space) -> dict[str, Any]:
    """Return a search space as plain values."""
    return {field: json.loads(json.dumps(each)) for field, each in space.items()}
