"""summary.md and run.json: what a run was, its results, and how to repeat it, for people and for programs."""

import json
import re
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.model_size import multiply_adds, parameters_by_part
from callbacks.pace import Clock
from callbacks.run.run_folder import earlier_config_files
from callbacks.run.scores import validation_scores
from callbacks.run.test_metrics import active_limits
from callbacks.run.test_section import TEST_BEGIN, TEST_END
from callbacks.text_lines import folded, plain_table
from callbacks.trackers.wandb_run import WandbRun
from utils.batches import count_examples
from utils.config_changes import config_changes
from utils.contracts import ClassifiesImages, HasUnit, network_of
from utils.files import write_text
from utils.interruption import Interrupted
from utils.machine import commit, cores, processor, versions

HIDDEN_TRAINER_KEYS = ("callbacks", "logger", "default_root_dir", "enable_progress_bar", "plugins", "profiler")


class Summary(Callback):
    """Summary of a run, `summary.md` in the run folder: a first version when a fit starts, and all of it at the end.

    An interrupted fit gets its summary too. The section of tests belongs to `TestMetrics` and is left as it is. The
    training time is kept in the checkpoint, so that the time of a resumed run is the sum of its sessions.

    `run.json` has the same facts for programs, unrounded, and more: the commits of the program that the run was trained
    with, and the time after each epoch, `{"1": 103.2, ...}` in seconds of training and validation.
    """

    clock: Clock = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._seconds = 0.0  # training, including validation, before the current session
        self._validation_seconds = 0.0
        self._examples = 0
        self._started: float | None = None
        self._trained = False
        self._validation_started: float | None = None
        self._multiply_adds: int | None = None
        self._epoch_seconds: dict[int, float] = {}
        self._commits: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """Return times and number of examples so far."""
        return {
            "seconds": self.training_seconds(),
            "validation_seconds": self._validation_seconds,
            "examples": self._examples,
            "epoch_seconds": dict(self._epoch_seconds),
            "commits": list(self._commits),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore times and number of examples of earlier sessions."""
        self._seconds = state_dict["seconds"]
        self._validation_seconds = state_dict["validation_seconds"]
        self._examples = state_dict["examples"]
        self._epoch_seconds = dict(state_dict.get("epoch_seconds", {}))
        self._commits = list(state_dict.get("commits", []))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the network's operations."""
        self._multiply_adds = multiply_adds(pl_module)  # on every process: a sharded network needs them all

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the first version, now that a resumed run has loaded its checkpoint, and start the clock."""
        self._commits = list(dict.fromkeys([*self._commits, commit() or "unknown"]))
        self._write(trainer, pl_module, "Training is in progress.")
        self._started = self.clock()
        self._trained = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Count the examples of a batch."""
        self._examples += count_examples(batch) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the validation."""
        self._validation_started = self.clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the time of a validation within the training."""
        if self._started is not None and self._validation_started is not None:
            self._validation_seconds += self.clock() - self._validation_started
        self._validation_started = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the time after an epoch and its validation."""
        self._epoch_seconds[trainer.current_epoch + 1] = self.training_seconds()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._seconds = self.training_seconds()
        self._started = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the whole summary, unless all had been done before this fit: its command and settings were not used."""
        if self._trained or not (Path(trainer.default_root_dir) / "summary.md").is_file():
            self._write(trainer, pl_module, f"Training ended after {_epochs(trainer)}.", ended=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the summary of an interrupted training."""
        if self._started is not None:
            reason = exception if isinstance(exception, Interrupted) else type(exception).__name__
            state = f"Training was interrupted after {_epochs(trainer)} ({reason})."
            self._write(trainer, pl_module, state)

    def training_seconds(self) -> float:
        """Return the time of the training so far, validation included, over all sessions."""
        return self._seconds + (self.clock() - self._started if self._started is not None else 0.0)

    def _write(self, trainer: Trainer, pl_module: LightningModule, state: str, ended: bool = False) -> None:
        folder = Path(trainer.default_root_dir)
        if not trainer.is_global_zero or not folder.is_dir():  # a folder that was deleted stays so
            return
        path = folder / "summary.md"
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        test = re.search(f"{TEST_BEGIN}.*?{TEST_END}", old, re.DOTALL)
        record = self._record(trainer, pl_module, ended)
        write_text(folder / "run.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        sections = [
            f"# {folder.name}",
            state,
            _validation_section(folder / "metrics.csv"),
            test.group() if test else TEST_BEGIN + TEST_END,
            _model_section(pl_module, record),
            _training_section(record),
            _changes_section(folder),
            _reproduce_section(folder, record),
            _config_section(folder / "config.yaml"),
        ]
        write_text(path, "\n\n".join(filter(None, sections)) + "\n")

    def _record(self, trainer: Trainer, pl_module: LightningModule, ended: bool) -> dict[str, Any]:
        """Return the content of run.json."""
        network = network_of(pl_module)
        return {
            "command": shlex.join(["oneforall", *repeatable(sys.argv[1:])]),
            "commits": self._commits,
            "ended": ended,
            "network": type(network).__name__,
            "parameters": sum(total for total, _ in parameters_by_part(network).values()),
            "multiply_adds": self._multiply_adds if isinstance(pl_module, ClassifiesImages) else None,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "examples": self._examples,
            "unit": pl_module.unit if isinstance(pl_module, HasUnit) else "examples",
            "seconds": self.training_seconds(),
            "validation_seconds": self._validation_seconds,
            "epoch_seconds": self._epoch_seconds,
            "limits": active_limits(trainer, ("train", "val")),  # overfit_batches and fast_dev_run set them too
            "hardware": _hardware(trainer, pl_module),
            "precision": str(trainer.precision),
            "versions": versions(),
            "trackers": [logger.where for logger in trainer.loggers if isinstance(logger, WandbRun)],
        }


def _model_section(pl_module: LightningModule, record: Mapping[str, Any]) -> str:
    parts = parameters_by_part(network_of(pl_module))
    trainable = sum(some for _, some in parts.values())
    size_line = f"{record['network']}: {record['parameters']:,} parameters, {trainable:,} trainable"
    if record["multiply_adds"] is not None and isinstance(pl_module, ClassifiesImages):
        size = pl_module.input_size
        size_line += f"; {record['multiply_adds']:,} multiply-adds per {size}x{size} image"
    rows = [(f"`{name}`", f"{all_:,}", f"{some:,}") for name, (all_, some) in parts.items()]
    return f"## Model\n\n{size_line}.\n\n" + plain_table(("part", "parameters", "trainable"), rows)


def _training_section(record: Mapping[str, Any]) -> str:
    rows = []
    seconds, validation, examples = record["seconds"], record["validation_seconds"], record["examples"]
    if examples:
        rows.append(("time", f"{_duration(seconds)}, including {_duration(validation)} of validation"))
        rate = examples / max(seconds - validation, 1e-9)
        rows.append(("throughput", f"{rate:,.0f} {record['unit']}/s in training"))
        rows.append(("steps", f"{record['steps']:,} optimizer steps, {examples:,} {record['unit']} seen"))
    if record["limits"]:
        rows.append(("limits", ", ".join(f"{name} {value}" for name, value in record["limits"].items())))
    rows.append(("hardware", record["hardware"]))
    rows.append(("precision", record["precision"]))
    rows += [("W&B", where) for where in record["trackers"]]
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())))
    rows.append(("commit", ", ".join(record["commits"])))
    return "## Training\n\n" + plain_table(("", ""), rows)


def _validation_section(metrics_csv: Path) -> str:
    if not metrics_csv.is_file():
        return ""
    rows = [
        (column, f"{score.last:.4f}", f"{score.best:.4f}", f"{score.best_epoch:g}")
        for column, score in validation_scores(metrics_csv).items()
    ]
    return "## Validation\n\n" + plain_table(("metric", "last", "best", "best after epoch"), rows) if rows else ""


def _changes_section(folder: Path) -> str:
    """Return what the run was resumed with that was different before; empty if nothing was."""
    files = [*earlier_config_files(folder), folder / "config.yaml"]
    if len(files) == 1:
        return ""
    configs = [yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files]
    lines = []
    for before, after, path in zip(configs, configs[1:], files[1:], strict=False):
        changes = "; ".join(change.describe() for change in config_changes(before, after, {"trainer": Trainer}))
        lines.append(f"- {path.name}: {changes or 'fields of another version'}")
    return "## Changes on resuming\n\n" + "\n".join(lines)


def _reproduce_section(folder: Path, record: Mapping[str, Any]) -> str:
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


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
