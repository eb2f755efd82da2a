"""Throughput of training at increasing batch sizes, and which of them fit into memory: `fit --batch_sizes 64..1024`.

Each size is tried by a short `oneforall fit` in its own process: one that runs out of memory leaves nothing behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from callbacks.run.throughput_file import read_throughput
from command_line.mistakes import mistake_in
from sweeps import training
from sweeps.first_check import print_config
from utils import interruption
from utils.text_table import aligned

RANGE = re.compile(r"(\d+)\.\.(\d+)")
BATCHES = 10
"""Number of batches in each of the two epochs with each size; the first has what only happens once, as compiling."""

SHORT = (
    *("--trainer.max_epochs=2", "--trainer.max_steps=-1", f"--trainer.limit_train_batches={BATCHES}"),
    "--trainer.limit_val_batches=1",
    *("--report=false", "--trainer.logger=false"),
    *("--model.schedule=Constant", "--model.schedule.warmup=0.0"),  # a longer warm-up than the run would be refused
)


class Trial(NamedTuple):
    """A batch size that was tried.

    Attributes:
        size: The batch size.
        throughput: Examples per second of training, in the second epoch.
        unit: Name of the examples, such as `images`.
        failure: Why training with it failed; empty if it did not.
    """

    size: int
    throughput: float = 0.0
    unit: str = "examples"
    failure: str = ""


def run(command: str, args: Sequence[str], sizes: str) -> int:
    """Try the batch sizes, each twice the one before, until one fails; print the table, and return the exit code.

    Raises:
        ValueError: A mistake on the command line, or training with the first size failed.
    """
    wanted = sizes_of(sizes)
    if command != "fit":
        raise ValueError(f"--batch_sizes is a flag of fit, not of {command}")
    if mistake := mistake_in([command, *args]):
        raise ValueError(mistake)
    field, changes = setting_of(args)
    args = [*args, *changes]
    trials: list[Trial] = []
    for size in wanted:
        trials.append(_try(args, field, size))
        print(_line(field, trials[-1]), flush=True)
        if trials[-1].failure:
            break
    if trials[0].failure:
        raise ValueError(f"training with --{field} {trials[0].size} failed: {trials[0].failure}")
    print("", *_report(field, [trial for trial in trials if not trial.failure]), sep="\n", flush=True)
    return 0


def sizes_of(text: str) -> list[int]:
    """Return the sizes of `64..1024`: 64, 128, 256, 512, 1024.

    Raises:
        ValueError: It is not a range of positive numbers.
    """
    found = RANGE.fullmatch(text.strip())
    low, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < low <= high:
        raise ValueError(
            f"--batch_sizes is {text}, but must be a range such as 64..1024, which tries 64, 128, ..., 1024"
        )
    return [low * 2**power for power in range((high // low).bit_length())]


def setting_of(args: Sequence[str]) -> tuple[str, list[str]]:
    """Return the field with the batch size, and flags that make a short training as heavy as the long one becomes.

    The field is `data.batch_tokens` where the data has one, else `data.batch_size`.

    Raises:
        ValueError: The network is frozen at first, so that a short training measures its head alone.
    """
    config = print_config(["fit", *args])
    data = (config.get("data") or {}).get("init_args") or {}
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    names = [str(each.get("class_path") if isinstance(each, dict) else each) for each in callbacks]
    if any(name.rpartition(".")[2] == "FreezeBackbone" for name in names):
        raise ValueError(
            "--batch_sizes trains for a few steps, and FreezeBackbone would freeze all but the head in them: remove it "
            "from trainer.callbacks for this measurement"
        )
    grows = (data.get("augmentation") or {}).get("progressive_sizes")
    changes = ["--data.augmentation.progressive_sizes=null"] if grows else []
    return "data.batch_tokens" if "batch_tokens" in data else "data.batch_size", changes


def _try(args: Sequence[str], field: str, size: int) -> Trial:
    with TemporaryDirectory(prefix="oneforall-") as place:
        folder = Path(place) / "run"
        short = ["fit", *args, *SHORT, f"--{field}={size}", "--run_dir", str(folder), "--resume"]
        code = training.follow(short, folder, lambda: False)
        interruption.raise_requested()
        if code:
            killed = "it was killed, perhaps because memory ran out"
            return Trial(size, failure=killed if code < 0 else training.last_line(folder))
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if field == "data.batch_size" and record["examples"] < size * record["steps"]:
            return Trial(size, failure=f"the training data have only {record['examples'] // record['steps']} examples")
        return Trial(size, _throughput(folder), record["unit"])


def _throughput(folder: Path) -> float:
    """Return the examples per second of the second epoch of a run."""
    _, rows = read_throughput(folder / "throughput.csv")
    _, seconds, examples = rows[-1]
    return examples / seconds


def _line(field: str, trial: Trial) -> str:
    return f"{field} {trial.size}: {trial.failure or f'{trial.throughput:,.0f} {trial.unit}/s'}"


def _report(field: str, trials: Sequence[Trial]) -> Iterator[str]:
    """Yield the lines of the table, and which sizes are the fastest and the largest."""
    rows = [[str(each.size), f"{each.throughput:,.0f}"] for each in trials]
    yield from aligned([[field, f"{trials[0].unit}/s"], *rows])
    fastest = max(trials, key=lambda trial: trial.throughput)
    yield f"\nfastest: --{field} {fastest.size}; largest that worked: {trials[-1].size}"
    yield "a larger batch needs another learning rate: see docs/cluster.md, or add --config sweeps/lr_range.yaml"
