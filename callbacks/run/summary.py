"""summary.md, run.json and throughput.csv: what a run was, its results, and how to repeat it."""

import json
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.model_size import multiply_adds, parameters_by_part
from callbacks.run.record_text import Record, model_line, training_facts
from callbacks.run.run_folder import earlier_config_files
from callbacks.run.scores import validation_scores
from callbacks.run.test_section import TEST_BEGIN, TEST_END
from callbacks.run.throughput_file import write_throughput
from callbacks.run.training_times import TrainingTimes
from callbacks.text_lines import folded, plain_table
from callbacks.throttle import Throttle
from callbacks.trackers.wandb_run import WandbRun
from utils.batch_limits import active_limits
from utils.batches import count_examples
from utils.config_changes import config_changes
from utils.contracts import ClassifiesImages, HasUnit, network_of
from utils.files import write_text
from utils.interruption import Interrupted
from utils.machine import commit, cores, processor, versions

HIDDEN_TRAINER_KEYS = ("callbacks", "logger", "default_root_dir", "enable_progress_bar", "plugins", "profiler")

EPOCHS_EVERY = 20.0
"""Minimum time between two writes of throughput.csv in training, in seconds: an epoch may take milliseconds."""


class Summary(Callback):
    """Summary of a run, `summary.md` in the run folder: a first version when a fit starts, and all of it at the end.

    An interrupted fit also gets its summary. The section of tests belongs to `TestMetrics` and is left as it is. Times
    and examples are kept in the checkpoint, so those of a resumed run are the sums over its sessions.

    `run.json` has the same facts for programs, unrounded, and more: the commits of the program that the run was trained
    with, and the time after each epoch, `{"1": 103.2, ...}` in seconds of training and validation.

    `throughput.csv` has a row per epoch: `epoch` (from 1), `seconds` (training without validation) and the number of
    examples, under the name that the module has for them, such as `images`. `metrics.csv` has neither, so that two of
    them can be compared bit for bit.
    """

    def __init__(self) -> None:
        self.times = TrainingTimes()
        self._throttle = Throttle(EPOCHS_EVERY)
        self._trained = False
        self._multiply_adds: int | None = None
        self._commits: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """Return times, number of examples and commits so far."""
        return {**self.times.state_dict(), "commits": list(self._commits)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore times, number of examples and commits of earlier sessions."""
        self.times.load_state_dict(state_dict)
        self._commits = list(state_dict.get("commits", []))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the network's operations."""
        self._multiply_adds = multiply_adds(pl_module)  # on every process, because a sharded network needs them all

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the first version, now that a resumed run has loaded its checkpoint, and start the clock."""
        self._commits = list(dict.fromkeys([*self._commits, commit() or "unknown"]))
        self._write(trainer, pl_module, "Training is in progress.")
        self.times.start()
        self._trained = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Count the examples of a batch."""
        self.times.add_examples(count_examples(batch) * trainer.world_size)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the validation."""
        self.times.start_validation()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the time of a validation within training."""
        self.times.stop_validation()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the time after an epoch and its validation, and write `throughput.csv` if it is due."""
        self.times.end_epoch(trainer.current_epoch + 1)
        if self._throttle.due():
            self._write_epochs(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.times.stop()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the whole summary, unless this fit had nothing left to do: its command and settings were not used."""
        if self._trained or not (Path(trainer.default_root_dir) / "summary.md").is_file():
            self._write(trainer, pl_module, f"Training ended after {_epochs(trainer)}.", ended=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the summary of an interrupted training."""
        if self.times.running:
            reason = exception if isinstance(exception, Interrupted) else type(exception).__name__
            state = f"Training was interrupted after {_epochs(trainer)} ({reason})."
            self._write(trainer, pl_module, state)

    def _write(self, trainer: Trainer, pl_module: LightningModule, state: str, ended: bool = False) -> None:
        folder = Path(trainer.default_root_dir)
        if not trainer.is_global_zero or not folder.is_dir():  # a deleted folder must not return
            return
        path = folder / "summary.md"
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        test = re.search(f"{TEST_BEGIN}.*?{TEST_END}", old, re.DOTALL)
        record = self._record(trainer, pl_module, state, ended)
        write_text(folder / "run.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        self._write_epochs(trainer, pl_module)
        sections = [
            f"# {folder.name}",
            state,
            _validation_section(folder / "metrics.csv"),
            test.group() if test else TEST_BEGIN + TEST_END,
            _model_section(pl_module, record),
            "## Training\n\n" + plain_table(("", ""), training_facts(record)),
            _changes_section(folder),
            _reproduce_section(folder, record),
            _config_section(folder / "config.yaml"),
        ]
        write_text(path, "\n\n".join(filter(None, sections)) + "\n")

    def _write_epochs(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder, rows = Path(trainer.default_root_dir), self.times.rows()
        if rows and trainer.is_global_zero and folder.is_dir():
            write_throughput(folder / "throughput.csv", _unit(pl_module), rows)

    def _record(self, trainer: Trainer, pl_module: LightningModule, state: str, ended: bool) -> dict[str, Any]:
        """Return the content of run.json."""
        network, totals = network_of(pl_module), self.times.now()
        parts = parameters_by_part(network).values()
        return {
            "command": shlex.join(["oneforall", *with_own_config(repeatable(sys.argv[1:]), trainer.default_root_dir)]),
            "commits": self._commits,
            "state": state,
            "ended": ended,
            "network": type(network).__name__,
            "parameters": sum(total for total, _ in parts),
            "trainable": sum(some for _, some in parts),
            "multiply_adds": self._multiply_adds if isinstance(pl_module, ClassifiesImages) else None,
            "input_size": pl_module.input_size if isinstance(pl_module, ClassifiesImages) else None,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "examples": totals.examples,
            "unit": _unit(pl_module),
            "seconds": totals.seconds,
            "validation_seconds": totals.validation_seconds,
            "throughput": totals.examples / max(totals.training_seconds, 1e-9),
            "epoch_seconds": {epoch: after.seconds for epoch, after in self.times.epochs.items()},
            "limits": active_limits(trainer, ("train", "val")),  # overfit_batches and fast_dev_run set them too
            "hardware": _hardware(trainer, pl_module),
            "precision": str(trainer.precision),
            "versions": versions(),
            "trackers": [logger.where for logger in trainer.loggers if isinstance(logger, WandbRun)],
        }


def _unit(pl_module: LightningModule) -> str:
    return pl_module.unit if isinstance(pl_module, HasUnit) else "examples"


def _model_section(pl_module: LightningModule, record: Record) -> str:
    parts = parameters_by_part(network_of(pl_module))
    rows = [(f"`{name}`", f"{all_:,}", f"{some:,}") for name, (all_, some) in parts.items()]
    return f"## Model\n\n{model_line(record)}\n\n" + plain_table(("part", "parameters", "trainable"), rows)


def _validation_section(metrics_csv: Path) -> str:
    if not metrics_csv.is_file():
        return ""
    rows = [
        (column, f"{score.last:.4f}", f"{score.best:.4f}", f"{score.best_epoch:g}")
        for column, score in validation_scores(metrics_csv).items()
    ]
    return "## Validation\n\n" + plain_table(("metric", "last", "best", "best after epoch"), rows) if rows else ""


def _changes_section(folder: Path) -> str:
    """Return the settings that changed when the run was resumed; empty if none did."""
    files = [*earlier_config_files(folder), folder / "config.yaml"]
    if len(files) == 1:
        return ""
    configs = [yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files]
    lines = []
    for before, after, path in zip(configs, configs[1:], files[1:], strict=False):
        changes = "; ".join(change.describe() for change in config_changes(before, after, {"trainer": Trainer}))
        lines.append(f"- {path.name}: {changes or 'fields of another version'}")
    return "## Changes on resuming\n\n" + "\n".join(lines)


def _reproduce_section(folder: Path, record: Record) -> str:
    again = shlex.join(["oneforall", "fit", "--config", str(folder / "config.yaml")])
    return (
        f"## Reproduce\n\nThe command of this run:\n\n```\n{record['command']}\n```\n\n"
        f"The same run from its saved config:\n\n```\n{again}\n```"
    )


def repeatable(arguments: Iterable[str]) -> list[str]:
    """Return a command line without --run_dir and --resume and their values: repeated, it starts another run."""
    kept: list[str] = []
    dropping = False
    for argument in arguments:
        if argument.startswith("-"):  # else it is a value of the option before
            dropping = argument.partition("=")[0] in ("--run_dir", "--resume")
        if not dropping:
            kept.append(argument)
    return kept


def with_own_config(arguments: list[str], folder: str) -> list[str]:
    """Return a command with the run's own config if it names none: it took that from the run folder."""
    names = {argument.partition("=")[0] for argument in arguments}
    if arguments[:1] != ["fit"] or names & {"--config", "-c", "--model", "--ckpt_path"}:
        return arguments
    return ["fit", "--config", str(Path(folder) / "config.yaml"), *arguments[1:]]


def _config_section(config_yaml: Path) -> str:
    """Return the config without paths and what only concerns output."""
    if not config_yaml.is_file():
        return ""
    config = yaml.safe_load(config_yaml.read_text(encoding="utf-8")) or {}
    short = {key: config[key] for key in ("seed_everything", "model", "data") if config.get(key) is not None}
    short["trainer"] = {
        key: value
        for key, value in (config.get("trainer") or {}).items()
        if value is not None and key not in HIDDEN_TRAINER_KEYS
    }
    text = yaml.safe_dump(short, sort_keys=False, allow_unicode=True)
    return folded("Config", f"```yaml\n{text}```")


def _hardware(trainer: Trainer, pl_module: LightningModule) -> str:
    threads = torch.get_num_threads()
    parts = [f"{processor()}, {cores()} cores, {threads} thread{'s' if threads > 1 else ''}"]
    if pl_module.device.type == "cuda":
        parts.insert(0, f"{trainer.world_size} x {torch.cuda.get_device_name(pl_module.device)}")
    elif trainer.world_size > 1:
        parts.insert(0, f"{trainer.world_size} processes")
    return "; ".join(parts)


def _epochs(trainer: Trainer) -> str:
    of = f" of {trainer.max_epochs}" if trainer.max_epochs is not None and trainer.max_epochs >= 0 else ""
    return f"{trainer.current_epoch}{of} epochs"
