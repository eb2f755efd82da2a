"""Check that a model and the data it is scored on have the same classes."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Trainer

from utils.contracts import ProvidesImages, datamodule_of


def check_same_classes(trainer: Trainer, names: Sequence[str] | None) -> None:
    """Raise ValueError if labels and outputs mean different classes: nothing else would reveal wrong scores.

    Args:
        trainer: The trainer, which has the data.
        names: Names of the model's classes; None if it knows none.
    """
    datamodule = datamodule_of(trainer)
    theirs = datamodule.class_names if isinstance(datamodule, ProvidesImages) else None
    if names is not None and theirs is not None and list(theirs) != list(names):
        raise ValueError(
            f"the data's classes are {_listed(theirs)} but the model was trained on {_listed(names)}; evaluate it on "
            "data with the same classes, or use `predict`"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")
