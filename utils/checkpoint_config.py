"""The config in a checkpoint: the part that a command needs, checked by `utils/trust.py` as it may be a stranger's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import Strategy

from utils.trust import Refusal, admit, admit_object, parameters_of, plain, resolve

TRAINED_ONLY = ("optimizer", "schedule")
"""Arguments of a model that only a fit needs."""

EVALUATION_CALLBACKS = (
    "callbacks.plots.attention_maps.AttentionMaps",
    "callbacks.plots.confident_mistakes.ConfidentMistakes",
    "callbacks.plots.confusion_matrix.ConfusionMatrix",
)
TRAINING_CALLBACKS = (
    *EVALUATION_CALLBACKS,
    "callbacks.freeze_backbone.FreezeBackbone",
    "callbacks.gradient_norms.GradientNorms",
    "callbacks.predictions.samples.Samples",
    "callbacks.weight_averaging.EMA",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
)
OBSERVING = (
    "callbacks.plots.",
    "callbacks.predictions.",
    "callbacks.progress.",
    "callbacks.run.",
    "callbacks.trackers.",
)
"""Where callbacks are that a fit may lack: they write what it has done, and change nothing in it."""

EVALUATION_FIELDS = ("precision",)
TRAINING_FIELDS = (
    *EVALUATION_FIELDS,
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "max_time",
    "limit_train_batches",
    "limit_val_batches",
    "overfit_batches",
    "val_check_interval",
    "check_val_every_n_epoch",
    "accumulate_grad_batches",
    "log_every_n_steps",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "deterministic",
    "sync_batchnorm",
)
"""Fields of the Trainer that are taken. Never those that depend on the machine or write files: devices, strategy,
plugins, loggers, profiler, folders."""

DEVICES = r"auto|-?\d+|\[?\d+(, ?\d*)*\]?"
"""What trainer.devices may be, as text."""

MACHINE_FIELDS = {"accelerator": "[a-z]+", "devices": DEVICES, "num_nodes": r"\d+", "strategy": "[a-z0-9_]+"}
"""Fields that a run also keeps when its folder is resumed, if they are as plain as this: its batch depends on them."""

RUN_SECTIONS: dict[str, dict[str, Any]] = {
    "resume_checkpoint": {"every_n_seconds": float, "every_n_steps": int | None},
    "non_finite": {"action": str, "every_n_steps": int},
}
"""Sections of the run that a fit takes, and their fields."""

WAY_THROUGH = (
    "if you trust whoever made the checkpoint, pass --trust_checkpoint (in Python: trust_checkpoint=True), which lets "
    "its config run any code"
)


def plain_config(config: object, source: str | Path) -> dict[str, Any]:
    """Return the whole config of a checkpoint.

    Raises:
        ValueError: It is not a mapping of plain values.
    """
    try:
        copy = plain(config)
        if not isinstance(copy, dict):
            raise Refusal("config", "is not a mapping")
    except Refusal as refusal:
        raise ValueError(f"the config in checkpoint {source} is damaged: {refusal}; use another checkpoint") from None
    return copy


def taken_config(config: object, command: str, source: str | Path, same_run: bool = False) -> dict[str, Any]:
    """Return the part of a checkpoint's config that a command needs, class paths in full.

    Args:
        config: The config.
        command: `fit`, `validate`, `test` or `predict`.
        source: The checkpoint, for messages.
        same_run: Whether it is to go on in its own folder, and with its devices.

    Raises:
        ValueError: It is damaged, or that part names anything but classes on the list.
    """
    whole, fits = plain_config(config, source), command == "fit"
    try:
        taken: dict[str, Any] = {
            "model": admit_object(whole.get("model"), LightningModule, "model"),
            "data": _without_places(admit_object(whole.get("data"), LightningDataModule, "data")),
            "trainer": _trainer(whole.get("trainer") or {}, fits, same_run),
            **_sections(whole, fits),
        }
        if "seed_everything" in whole:
            taken["seed_everything"] = admit(whole["seed_everything"], int, "seed_everything")
    except Refusal as refusal:
        raise _refused(refusal, source) from None
    if not fits:
        taken["model"]["init_args"] = _without_training(taken["model"]["init_args"])
    return taken


def model_config(checkpoint: dict[str, Any], base: type, source: str | Path) -> tuple[type, dict[str, Any]]:
    """Return the class of the model in a checkpoint, and the arguments to build it with.

    Args:
        checkpoint: The content of the file.
        base: What the model must be.
        source: The file, for messages.

    Raises:
        ValueError: The config is damaged, the model is something else, or anything but classes on the list is named,
            including where Lightning itself would look (`hyper_parameters`).
    """
    whole = plain_config(checkpoint["config"], source)
    try:
        model = admit_object(whole.get("model"), LightningModule, "model")
        found = resolve(model["class_path"], LightningModule, "model")
        given = plain(checkpoint.get("hyper_parameters") or {})
        if "_class_path" in given:
            arguments = {name: value for name, value in given.items() if not name.startswith("_")}
            spec = {"class_path": given["_class_path"], "init_args": arguments}
            admit_object(spec, LightningModule, "hyper_parameters")
        seed = admit(whole.get("seed_everything", 0), int, "seed_everything")
    except Refusal as refusal:
        raise _refused(refusal, source) from None
    if not issubclass(found, base):
        name = found.__name__
        raise ValueError(
            f"checkpoint {source} holds {name}, not {base.__name__}: use a checkpoint of {base.__name__}, or open "
            f"this one with {name}.load_from_checkpoint"
        )
    has_seed = "seed" in parameters_of(found)
    return found, {**({"seed": seed} if has_seed else {}), **model["init_args"]}


def data_config(config: object, source: str | Path) -> dict[str, Any]:
    """Return the datamodule that a checkpoint's config names, as `{class_path, init_args}`.

    Args:
        config: The config.
        source: The checkpoint, for messages.

    Raises:
        ValueError: It is damaged, or the datamodule names anything but classes on the list.
    """
    whole = plain_config(config, source)
    try:
        return admit_object(whole.get("data"), LightningDataModule, "data")
    except Refusal as refusal:
        raise _refused(refusal, source) from None


def _refused(refusal: Refusal, source: str | Path) -> ValueError:
    return ValueError(f"the config in checkpoint {source} is refused: {refusal}; {WAY_THROUGH}")


def _without_training(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in TRAINED_ONLY}


def _without_places(data: dict[str, Any]) -> dict[str, Any]:
    """Return a datamodule that writes only to its default places: no cache or download elsewhere."""
    arguments = data["init_args"]
    parameters = parameters_of(resolve(data["class_path"], LightningDataModule, "data"))
    if "cache_dir" in arguments and arguments["cache_dir"] != parameters["cache_dir"].default:
        arguments = {**arguments, "cache_dir": None}
    if "download" in parameters and "root" in arguments and arguments["root"] != parameters["root"].default:
        arguments = {**arguments, "download": False}
    return {**data, "init_args": arguments}


def _sections(whole: dict[str, Any], fits: bool) -> dict[str, Any]:
    """Return the sections of the run: the metric that chooses the best weights; in a fit, when to save."""
    fields: dict[str, dict[str, Any]] = {"checkpoint": {"monitor": str, "mode": str}, **(RUN_SECTIONS if fits else {})}
    return {
        section: {
            name: admit(value, fields[section][name], f"{section}.{name}")
            for name, value in whole[section].items()
            if name in fields[section]
        }
        for section in fields
        if isinstance(whole.get(section), dict)
    }


def _trainer(trainer: Any, fits: bool, same_run: bool) -> dict[str, Any]:
    if not isinstance(trainer, dict):
        raise Refusal("trainer", "is not a mapping")
    parameters = parameters_of(Trainer)
    fields = TRAINING_FIELDS if fits else EVALUATION_FIELDS
    taken = {
        name: admit(trainer[name], parameters[name].annotation, f"trainer.{name}")
        for name in fields
        if trainer.get(name) is not None
    }
    if same_run:
        taken |= _machine(trainer)
    given = trainer.get("callbacks")
    if given is None:
        return taken
    callbacks = given if isinstance(given, list) else [given]
    admitted = [_callback(each, fits, f"trainer.callbacks[{place}]") for place, each in enumerate(callbacks)]
    return {**taken, "callbacks": [each for each in admitted if each is not None]}


def _machine(trainer: dict[str, Any]) -> dict[str, Any]:
    """Return what a config says of devices and processes.

    Raises:
        Refusal: It is neither plain nor a strategy of this program.
    """
    taken = {name: trainer[name] for name in MACHINE_FIELDS if trainer.get(name) is not None}
    for name, value in taken.items():
        if name == "strategy" and isinstance(value, dict):
            taken[name] = admit_object(value, Strategy, "trainer.strategy")
        elif isinstance(value, bool) or not re.fullmatch(MACHINE_FIELDS[name], str(value)):
            raise Refusal(f"trainer.{name}", f"is {value!r}, which is not taken from a run folder")
    return taken


def _callback(value: Any, fits: bool, field: str) -> dict[str, Any] | None:
    """Return a callback; None for one that the command does not need.

    Raises:
        Refusal: It is neither on the list nor one of Lightning's, or is one that calls any function; or it is one that
            a fit may need, but that may write anywhere.
    """
    class_path = value.get("class_path") if isinstance(value, dict) else value
    if isinstance(class_path, str) and class_path in _NEVER_NEEDED:
        return None
    found = resolve(class_path, Callback, f"{field}.class_path")
    name = f"{found.__module__}.{found.__qualname__}"
    if name in (TRAINING_CALLBACKS if fits else EVALUATION_CALLBACKS):
        return admit_object(value, Callback, field)
    if fits and not name.startswith(OBSERVING):
        raise Refusal(
            field,
            f"is {found.__name__}, which is not taken from a checkpoint or a run folder: repeat the whole command with "
            "its --config",
        )
    return None


_NEVER_NEEDED = {
    f"lightning.pytorch.callbacks.{name}"
    for name in lightning.pytorch.callbacks.__all__
    if name not in ("EarlyStopping", "LambdaCallback")
}
"""Lightning's own callbacks that a run may have had, but that are never built from its checkpoint."""
