"""A warning if an evaluation holds out other examples than the training did: it may score what was trained on."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

SPLITTING = ("split_seed", "validation_size", "validation_fraction", "val_fraction", "test_fraction")
"""Fields of data, and of a task of texts, that choose which training examples are held out."""
PLACES = ("root", "path", "train_source", "train")
"""Fields that say where training data are."""


def warn_of_other_split(trained: dict[str, Any], now: dict[str, Any]) -> None:
    """Warn of fields by which the examples held out are not those of the training.

    Args:
        trained: The config that the checkpoint carries.
        now: That of the evaluation.
    """
    earlier, present = trained.get("data"), now.get("data")
    if not isinstance(earlier, dict) or not isinstance(present, dict):
        return
    if _source(earlier) != _source(present):
        return
    before, after = _splitting(earlier), _splitting(present)
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    if changed:
        values = ", ".join(f"{name} {after[name]} instead of {before[name]}" for name in sorted(changed))
        rank_zero_warn(
            f"other examples are held out than in training ({values}): if those to score are split off the training "
            "data, the model was trained on some of them"
        )


def _arguments(part: dict[str, Any]) -> dict[str, Any]:
    arguments = part.get("init_args")
    return arguments if isinstance(arguments, dict) else {}


def _source(data: dict[str, Any]) -> list[Any]:
    """Return the class of data and where they are."""
    task = _arguments(data).get("task")
    of_task = _arguments(task) if isinstance(task, dict) else {}
    return [data.get("class_path"), *(each.get(name) for each in (_arguments(data), of_task) for name in PLACES)]


def _splitting(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that choose what is held out, by their names in a config."""
    arguments = _arguments(data)
    task = arguments.get("task")
    of_task = _arguments(task) if isinstance(task, dict) else {}
    fields = {f"data.{name}": value for name, value in arguments.items() if name in SPLITTING}
    return fields | {f"data.task.{name}": value for name, value in of_task.items() if name in SPLITTING}
