"""One run per seed, one after the other, then the mean and the spread of their scores: `--seeds 0..4`.

`oneforall fit ... --seeds 0..4` trains runs/NAME-seed0 to runs/NAME-seed4, `oneforall test --ckpt_path runs/NAME
--seeds 0..4` tests them. Each run is what the command does with one seed, and resumes like it: the same command
continues where it was stopped. Each also has a report.html of some 5 MB: a seed is a whole run, which somebody may want
to look at, and seeds are few. `--report false` leaves the pages out, as a sweep does for its many trials.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from command_line.configs import given_configs, option_values, without
from command_line.error_line import print_error
from command_line.mistakes import mistake_in
from command_line.paths import checkpoint_file
from command_line.run_options import default_name, named_folder
from sweeps import training
from sweeps.scores import best, mean_and_spread, monitor_in, scores_of_test, validations
from sweeps.shown_validations import ShownValidations
from utils import interruption
from utils.text_table import aligned, figure

FLAG = "--seeds"
RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")
LARGEST, MOST = 2**32 - 1, 1000
"""The largest seed that numpy takes, and the number of seeds above which a range is taken for a typo."""

SET_HERE = ("--run_dir", "--seed_everything", "--output")
"""Flags that would be the same for all runs."""


def run(command: str, args: Sequence[str], given: str) -> int:
    """Run `oneforall fit` or `oneforall test` once per seed, print the table, and return the exit code.

    Args:
        command: Which of the two.
        args: Its arguments, without the seeds.
        given: The seeds, as in `seeds_of`.

    Raises:
        ValueError: A mistake on the command line.
    """
    seeds = seeds_of(given)
    tests = command == "test"
    if taken := [flag for flag in (*SET_HERE, *(["--name"] if tests else [])) if option_values(list(args), flag)]:
        hint = "" if tests else " (--name NAME names them)"
        raise ValueError(f"{taken[0]} is the same for all runs of {FLAG}; leave it out{hint}")
    name = _name(command, args)
    folders = [Path(f"{name}-seed{seed}") for seed in seeds]
    if tests:
        _require_checkpoints(folders)
    for seed, folder in zip(seeds, folders, strict=True):
        print(f"seed {seed}  -> {folder}", flush=True)
        new = not folder.exists()
        code = training.follow([command, *_of_one(command, args, seed, folder)], folder, _look(command, folder))
        interruption.raise_requested()
        if code:
            print_error(f"seed {seed}: {training.last_line(folder)}")
            if new and code == training.MISTAKE:
                _remove_unbegun(folder)
            return code if code > 0 else 1
    print("", *_report(command, seeds, folders), sep="\n", flush=True)
    if command == "fit":
        print(f"test them:  oneforall test --ckpt_path {shlex.quote(name)} {FLAG} {given}")
    return 0


def _remove_unbegun(folder: Path) -> None:
    """Remove the folder of a run that was refused, as `fit` does, unless it has trained after all."""
    if not any((folder / "checkpoints").glob("*.ckpt")):
        shutil.rmtree(folder, ignore_errors=True)


def seeds_of(text: str) -> list[int]:
    """Return the seeds of `0..4` or `0,3,7`.

    Raises:
        ValueError: It is neither, or has a seed twice, too large a one, or too many.
    """
    ranges: list[range] = []
    for part in text.split(","):
        if not (found := RANGE.fullmatch(part.strip())):
            raise ValueError(f"{FLAG} is {text}, but must be a range such as 0..4 or a list such as 0,3,7")
        ranges.append(range(int(found[1]), int(found[2] or found[1]) + 1))
    if any(each and each[-1] > LARGEST for each in ranges):
        raise ValueError(f"{FLAG} {text} has a seed above {LARGEST}; write it as 0..4 or 0,3,7")
    if (count := sum(map(len, ranges))) > MOST:
        raise ValueError(f"{FLAG} {text} has {count:,} seeds, each of which is a whole run; give at most {MOST:,}")
    seeds = [seed for each in ranges for seed in each]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{FLAG} {text} has {'a seed twice' if seeds else 'no seed'}; write it as 0..4 or 0,3,7")
    return seeds


def _name(command: str, rest: Sequence[str]) -> str:
    """Return the beginning of the folders' names, before `-seed0` and so on.

    Raises:
        ValueError: There is none, or the command line has another mistake.
    """
    if command == "test":
        given = option_values(list(rest), "--ckpt_path")
        if not given:
            raise ValueError(f"oneforall test {FLAG} needs --ckpt_path runs/NAME, for runs/NAME-seed0 and so on")
        return given[-1].rstrip("/")
    if mistake := mistake_in([command, *rest]):
        raise ValueError(mistake)
    named = option_values(list(rest), "--name")
    name = named[-1] if named else default_name(given_configs(list(rest)), network="")
    if not name:
        raise ValueError(f"{FLAG} needs a name for its runs: pass --name NAME")
    return str(named_folder(name))


def _require_checkpoints(folders: Sequence[Path]) -> None:
    """Raise FileNotFoundError, before anything is tested or written, if one of the runs does not exist."""
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"--ckpt_path with {FLAG}: {folder} does not exist; pass the name of `fit {FLAG}`, without -seed0"
            )
        checkpoint_file(str(folder))


def _of_one(command: str, rest: Sequence[str], seed: int, folder: Path) -> list[str]:
    """Return the arguments of the command for one seed."""
    if command == "test":
        return [*without(rest, "--ckpt_path"), "--ckpt_path", str(folder)]
    return [*without(rest, "--name"), "--seed_everything", str(seed), "--run_dir", str(folder), "--resume"]


def _look(command: str, folder: Path) -> training.Look:
    """Return a function that prints the score of each validation of a fit."""
    shown: ShownValidations | None = None

    def look() -> bool:
        nonlocal shown
        if command == "fit" and (folder / "metrics.csv").is_file():
            shown = shown or ShownValidations(folder, monitor_in(folder).metric)
            shown.update()
        return False

    return look


def _report(command: str, seeds: Sequence[int], folders: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of the table: a row per seed, then mean and spread.

    The figures of a fit are those of the validation that chose best.ckpt.
    """
    scores = [scores_of_test(folder) if command == "test" else _best_scores(folder) for folder in folders]
    names = [name for name in scores[0] if all(name in each for each in scores)]
    if not names:
        yield f"there is no score that all {len(seeds)} runs have"
        return
    columns = {name: [each[name] for each in scores] for name in names}
    spreads = {name: mean_and_spread(values) for name, values in columns.items()}
    rows = [[str(seed), *(figure(columns[name][place]) for name in names)] for place, seed in enumerate(seeds)]
    rows.append(["mean", *(f"{mean:.5g}" for mean, _ in spreads.values())])
    rows.append(["spread", *("" if spread is None else f"{spread:.3g}" for _, spread in spreads.values())])
    yield from aligned([["seed", *names], *rows])
    yield f"spread: sample standard deviation over {len(seeds)} seeds"


def _best_scores(folder: Path) -> dict[str, float]:
    """Return the scores of the validation that chose a run's best.ckpt, the monitor first."""
    monitor = monitor_in(folder)
    found = best(validations(folder, monitor.metric), monitor)
    return {monitor.metric: found.scores[monitor.metric], **found.scores} if found else {}
