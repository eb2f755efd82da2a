"""The set-up of the process before a command runs: imports, warnings, and the memory that is kept."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import warnings
from collections.abc import Iterable
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from command_line.memory import keep_freed_memory
from utils.trust import PACKAGES

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Variables in which launchers pass a process its rank."""

ROOT = Path(__file__).resolve().parents[1]
OURS = (*PACKAGES, "command_line", "utils", "cli.py")
"""The parts of this program that issue warnings."""

format_warning = warnings.formatwarning
"""Lightning's format of warnings."""


def prepare_process() -> None:
    """Do what has to be done before the first module with a class is imported."""
    quieten()
    warnings.formatwarning = format_our_warning
    know_other_nodes()
    keep_freed_memory()


def import_packages(names: Iterable[str]) -> None:
    """Import every module of the packages, which makes bare class names resolve in configs and flags.

    A module that cannot be imported is an error only for the run that names a class of it.

    Warns:
        UserWarning: A module cannot be imported; the message says why.
    """
    for name in names:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            try:
                importlib.import_module(module.name)
            except Exception as error:  # a module may raise anything
                reason = f"{type(error).__name__}: {error}"
                warnings.warn(f"{module.name} cannot be imported, so its classes are unknown: {reason}", stacklevel=2)


def quieten() -> None:
    """Silence messages that Lightning prints at every start and nobody can act on."""
    for text in (
        "LightningCLI's args",
        ".*LeafSpec",
        "The number of training batches",
        ".*does not have many workers",
        "The `srun` command is available",
        "The ``compute`` method of metric .* was called before",  # by a process that has no batch of an evaluation
        "It is recommended to use .*sync_dist=True",  # what is logged is the same on all processes already
    ):
        warnings.filterwarnings("ignore", message=text)
    hints = (
        *("litlogger", "LitLogger", "estimate number of stepping batches", "`Trainer.fit` stopped: `max_epochs"),
        *("TPU available", "Seed set to", "Loaded model weights from", "Restoring states from"),
    )
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(lambda record: not any(hint in record.getMessage() for hint in hints))


def format_our_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning as it is printed: that of this program as one line, without the place in the code."""
    path = Path(filename)
    if issubclass(category, UserWarning) and path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in OURS:
        return f"warning: {' '.join(str(message).split())}\n"
    return format_warning(message, category, filename, lineno, line)


def know_other_nodes() -> None:
    """Make sure that no process of another node takes itself for the first, where only NODE_RANK tells nodes apart.

    In a run that is started by one command per node, Lightning numbers the processes only when it starts others.
    """
    if os.environ.get("NODE_RANK", "0") != "0" and not any(name in os.environ for name in RANKS):
        rank_zero_only.rank = 1  # type: ignore[attr-defined]
