"""Comparison of several runs: scores, groups of seeds, differences between their configs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from reports.run_files import RunFiles
from utils.config_changes import config_changes, value_text
from utils.file_names import readable

SEED = "seed_everything"
MAX_TEST_SCORES = 4
UNKNOWN = "-"


class Group(NamedTuple):
    """Runs whose configs differ only in the seed.

    Attributes:
        runs: Their names.
        scores: Mean and sample standard deviation of each score that more than one run has, as text, by name.
    """

    runs: list[str]
    scores: dict[str, str]


class Comparison(NamedTuple):
    """Several runs side by side.

    Attributes:
        runs: The runs by name.
        header: Names of the columns of the table, after that of the run.
        rows: The cells of each run as text, by the name of the run.
        groups: Groups of at least two seeds.
        differences: Values of each field that differs, with the names of the runs that have them.
    """

    runs: dict[str, RunFiles]
    header: list[str]
    rows: dict[str, list[str]]
    groups: list[Group]
    differences: dict[str, dict[str, list[str]]]


def compare(folders: Sequence[str | os.PathLike[str]]) -> Comparison:
    """Return the comparison of run folders.

    Raises:
        FileNotFoundError: One is not a run folder.
        ValueError: A file in one is damaged.
    """
    runs = _named([RunFiles(folder) for folder in folders])
    scores = {name: scores_of(run) for name, run in runs.items()}
    columns = _columns(scores.values())
    rows = {
        name: [
            *(_score(scores[name].get(column)) for column in columns),
            str(run.epochs or UNKNOWN),
            run.time or UNKNOWN,
            run.parameters or UNKNOWN,
        ]
        for name, run in runs.items()
    }
    groups = [_group(names, columns, scores) for names in _groups(runs) if len(names) > 1]
    return Comparison(runs, [*columns, "epochs", "time", "parameters"], rows, groups, differences(runs))


def _named(runs: Iterable[RunFiles]) -> dict[str, RunFiles]:
    """Return runs by the names of their folders, by whole paths where two names are the same."""
    listed = list(runs)
    names = [run.name for run in listed]
    return {run.name if names.count(run.name) == 1 else readable(run.folder): run for run in listed}


def scores_of(run: RunFiles) -> dict[str, float]:
    """Return the best value of the metric that chose the weights, and the test scores, without those per class."""
    best = {f"best {run.monitor}": run.best.best} if run.best else {}
    return {**best, **run.test_scores}


def _columns(scores: Iterable[Mapping[str, float]]) -> list[str]:
    """Return which scores have a column: what was monitored, then the first few of the tests, losses last."""
    names = list(dict.fromkeys(name for each in scores for name in each))
    tests = sorted((name for name in names if name.startswith("test/")), key=lambda name: "loss" in name)
    return [name for name in names if not name.startswith("test/")] + tests[:MAX_TEST_SCORES]


def _score(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _groups(runs: Mapping[str, RunFiles]) -> list[list[str]]:
    groups: list[list[str]] = []
    for name, run in runs.items():
        for group in groups:
            if run.config and all(_same_but_for_seed(runs[other].config, run.config) for other in group):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _same_but_for_seed(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return {change.field for change in config_changes(first, second)} == {SEED}


def _group(names: list[str], columns: Sequence[str], scores: Mapping[str, Mapping[str, float]]) -> Group:
    spreads = {}
    for column in columns:
        values = [scores[name][column] for name in names if column in scores[name]]
        if len(values) == len(names):  # a mean of some would stand beside the number of all
            spreads[column] = f"{mean(values):.4f} ± {stdev(values):.4f}"
    return Group(names, spreads)


def differences(runs: Mapping[str, RunFiles]) -> dict[str, dict[str, list[str]]]:
    """Return the fields in which configs differ: the names of the runs by value, by field."""
    with_config = {name: run.config for name, run in runs.items() if run.config}
    if len(with_config) < 2:
        return {}
    first, *others = with_config
    values: dict[str, dict[str, Any]] = {}
    for name in others:
        for change in config_changes(with_config[first], with_config[name]):
            values.setdefault(change.field, {first: change.old})[name] = change.new
    found: dict[str, dict[str, list[str]]] = {}
    for field, given in values.items():
        by_value: dict[str, list[str]] = {}
        for name in with_config:
            by_value.setdefault(value_text(given.get(name, given[first])), []).append(name)
        found[field] = by_value
    return found
