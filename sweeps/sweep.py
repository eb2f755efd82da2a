"""A sweep: trials one after the other, each an `oneforall fit` in its own run folder, until there are enough."""

from __future__ import annotations

import math
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sweeps import training
from sweeps.first_check import resolved_config
from sweeps.scores import Monitor, best, monitor_of, validations
from sweeps.shown_validations import ShownValidations
from sweeps.space import Space, Value, as_flag, combinations, short_names
from utils import interruption
from utils.config_changes import config_changes
from utils.lock import NAME as LOCK
from utils.lock import FolderLock
from utils.text_table import aligned, figure

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

    from sweeps.study import Study

FILE = "sweep.db"
"""File in a sweep's folder that holds its trials."""

NO_REPORT = "--report=false"
"""Spares each trial a page of some megabytes. It precedes the flags of all trials, which may ask for the page."""


class Plan(NamedTuple):
    """The plan of a sweep.

    Attributes:
        config: The config that all trials share.
        space_file: The file of the search space.
        space: The values that each field may take.
        flags: Further flags of all trials.
        folder: The sweep's folder.
        trials: Number of trials.
        prune: Whether to stop trials that are worse than the median of earlier ones.
        again: The command line that resumes the sweep.
    """

    config: str
    space_file: Path
    space: Space
    flags: tuple[str, ...]
    folder: Path
    trials: int
    prune: bool
    again: str


def run_sweep(plan: Plan) -> None:
    """Run the remaining trials, and print the table of all.

    Raises:
        ValueError: The folder is taken by something else, or the first trial cannot start.
        interruption.Interrupted: A signal; the trial in progress is saved.
        RuntimeError: A trial was killed, or none has a score.
    """
    lock = _lock(plan.folder)
    try:
        study = _study(plan)
        total = _total(plan, study)
        while len(study.ended()) < total:
            interruption.raise_requested()
            _run_trial(plan, study, study.next_trial(), total)
    finally:
        lock.release()
    print(*_report(plan, study), sep="\n", flush=True)
    if study.best() is None:
        raise RuntimeError(f"no trial has trained to the end; see why in {plan.folder}/trial-*/{training.LOG}")


def trial_folder(plan: Plan, trial: int) -> Path:
    """Return the run folder of a trial, given by its number from 0."""
    return plan.folder / f"trial-{trial + 1:03}"


def trials_in(folder: Path) -> list[Path] | None:
    """Return the run folders of a sweep's trials that have begun; None if the folder is not that of a sweep."""
    if not (folder / FILE).is_file():
        return None
    return [trial for trial in sorted(folder.glob("trial-*")) if (trial / "config.yaml").is_file()]


def _study(plan: Plan) -> Study:
    """Return the study in the sweep's folder, begun if it is new."""
    from sweeps.study import Study, plain_space

    study = Study(plan.folder / FILE, plan.space, prune=plan.prune)
    what = {"config": plan.config, "flags": list(plan.flags), "space": plain_space(plan.space)}
    if study.exists():
        _require_same(plan, study.what, what)
        study.queue_grid(plan.trials)  # there may be enough trials for it only now
        if study.config is not None and len(study.ended()) < _total(plan, study):  # else nothing is trained any more
            _require_unchanged(plan, study.config)
        return study
    print(f"checking {plan.config} with {plan.space_file}", flush=True)
    try:
        config = resolved_config(plan.config, plan.flags, plan.space_file, plan.space)
    except BaseException:
        _forget(plan)
        raise
    study.begin(what, config, monitor_of(config), plan.trials)
    return study


def _total(plan: Plan, study: Study) -> int:
    """Return the number of trials of the whole sweep."""
    total = min(plan.trials, combinations(plan.space) or plan.trials)
    return max(total, len(study.ended()) + study.queued())  # earlier ones may have tried a combination twice


def _require_same(plan: Plan, before: dict[str, Any], now: dict[str, Any]) -> None:
    for part, text in (("config", "another config"), ("flags", "other flags"), ("space", "another search space")):
        if before[part] != now[part]:
            raise ValueError(
                f"{plan.folder} has a sweep with {text}, {_shown(before[part])} instead of "
                f"{_shown(now[part])}; choose another folder with --name NAME, or remove {plan.folder}"
            )


def _require_unchanged(plan: Plan, before: dict[str, Any]) -> None:
    """Raise ValueError if the content of the configs has changed: trials of two trainings cannot be compared."""
    if changes := config_changes(before, resolved_config(plan.config, plan.flags, plan.space_file, plan.space)):
        raise ValueError(
            f"{plan.config} has changed since the sweep in {plan.folder} began "
            f"({'; '.join(change.describe() for change in changes[:3])}); undo it, or choose another folder with "
            "--name NAME"
        )


def _run_trial(plan: Plan, study: Study, trial: Trial, total: int) -> None:
    values, folder = study.values(trial), trial_folder(plan, trial.number)
    print(f"trial {trial.number + 1} of {total}: {_described(values)}  -> {folder}", flush=True)
    shown, pruned = ShownValidations(folder, study.monitor.metric), False

    def look() -> bool:
        nonlocal pruned
        if shown.update():
            pruned = pruned or study.report(trial, shown.values)
        return pruned

    flags = [*plan.flags, *(as_flag(*pair) for pair in values.items())]
    args = ["fit", NO_REPORT, "--config", plan.config, *flags]
    code = training.follow([*args, "--run_dir", str(folder), "--resume"], folder, look)
    _note_end(plan, study, trial, code, pruned)


def _note_end(plan: Plan, study: Study, trial: Trial, code: int, pruned: bool) -> None:
    """Note how a trial has ended, unless it is to continue when the sweep is resumed."""
    folder, monitor = trial_folder(plan, trial.number), study.monitor
    stopped = {128 + number for number in interruption.SIGNALS}
    if pruned:
        study.prune(trial)
        print("  stopped: worse than the median of earlier trials", flush=True)
        return
    interruption.raise_requested()
    if code == -signal.SIGKILL and study.was_killed_here(trial, _last_saved(folder)):
        _fail(study, trial, "killed twice without progress, perhaps because memory ran out")
        return
    if code < 0 or code in stopped:
        raise RuntimeError(f"trial {trial.number + 1} was killed; resume the sweep with: {plan.again}")
    if code == training.MISTAKE and not study.ended():
        reason = training.last_line(folder)
        _forget(plan)
        raise ValueError(f"the first trial cannot start: {reason}")
    if code == training.MISTAKE and not _last_saved(folder):
        reason = training.last_line(folder)
        if study.cannot_go_on(trial, reason):
            raise RuntimeError(
                f"trial {trial.number + 1} cannot start, as the one before it ({reason}); mend it, and resume the "
                f"sweep with: {plan.again}"
            )
    found = best(validations(folder, monitor.metric), monitor) if code == 0 else None
    if found is None:
        _fail(study, trial, training.last_line(folder) if code else f"it has no {monitor.metric}")
        return
    score = found.scores[monitor.metric]
    study.complete(trial, score)
    print(f"  best {figure(score)} after epoch {found.epochs}", flush=True)


def _fail(study: Study, trial: Trial, reason: str) -> None:
    """Note and print that a trial has failed, and why."""
    study.fail(trial, reason)
    print(f"  failed: {reason}", flush=True)


def _last_saved(folder: Path) -> int:
    """Return when the last checkpoint of a run was written, in nanoseconds; 0 without one."""
    last = folder / "checkpoints" / "last.ckpt"
    return last.stat().st_mtime_ns if last.is_file() else 0


def _report(plan: Plan, study: Study) -> Iterator[str]:
    """Yield the lines of the table of trials, the best one first, and the command that tests the best one."""
    monitor, names = study.monitor, short_names(plan.space)
    trials = sorted(study.ended(), key=lambda trial: _rank(trial, monitor))
    rows = [
        [str(trial.number + 1), *_outcome(trial), *(_cell(trial.params.get(field)) for field in plan.space)]
        for trial in trials
    ]
    yield ""
    yield from aligned([["trial", monitor.metric, "", *names.values()], *rows])
    if (winner := study.best()) is not None:
        folder = trial_folder(plan, winner.number)
        yield f"\nbest: trial {winner.number + 1}, {monitor.metric} {_outcome(winner)[0]}, {folder}"
        yield f"test it:  oneforall test --ckpt_path {shlex.quote(str(folder))}"


def _rank(trial: FrozenTrial, monitor: Monitor) -> tuple[int, float, int]:
    """Return the sort key of a trial: complete ones by their score, then pruned ones, then failed ones."""
    group = ("COMPLETE", "PRUNED", "FAIL").index(trial.state.name)
    value = math.inf if trial.value is None else trial.value
    return group, -value if monitor.mode == "max" and trial.value is not None else value, trial.number


def _outcome(trial: FrozenTrial) -> tuple[str, str]:
    """Return a trial's score and, if it has not trained to its end, why."""
    score = "" if trial.value is None else figure(trial.value)
    return score, {"COMPLETE": "", "PRUNED": "pruned", "FAIL": "failed"}[trial.state.name]


def _described(values: dict[str, Value]) -> str:
    names = short_names(values)
    return ", ".join(f"{names[field]} {_cell(value)}" for field, value in values.items())


def _cell(value: object) -> str:
    return figure(value) if isinstance(value, float) else str(value)


def _shown(value: object) -> str:
    return shlex.join(value) or "none" if isinstance(value, list) else str(value)


def _lock(folder: Path) -> FolderLock:
    """Return the lock on the sweep's folder, which is created if missing.

    Raises:
        ValueError: Something else is in the folder, or another process runs the sweep.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir()}
    if names - {LOCK} and FILE not in names:
        raise ValueError(f"{folder} is taken by another run; choose another folder with --name NAME")
    try:
        return FolderLock(folder)
    except BlockingIOError as error:
        raise ValueError(
            f"another process runs the sweep in {folder}; wait until it has ended, or choose another folder with --name"
        ) from error


def _forget(plan: Plan) -> None:
    """Remove the folder of a sweep that has not trained anything."""
    if not any(plan.folder.glob("trial-*/checkpoints/*")):
        shutil.rmtree(plan.folder, ignore_errors=True)
