"""Settings that cannot work together, refused before anything is built or trained."""

from __future__ import annotations

import re
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

from utils.checkpoint_config import DEVICES
from utils.contracts import (
    ClassifiesImages,
    ProvidesCharacters,
    ProvidesImages,
    ProvidesTokens,
    UsesTokenizer,
    UsesVocabulary,
)

HALF = {"bf16-true": "bf16-mixed", "16-true": "16-mixed"}
"""Precisions that keep the weights in 16 bits, and what to use instead."""

NEEDS = (
    (ClassifiesImages, "images", ProvidesImages, ("mean", "std", "input_size")),
    (UsesTokenizer, "tokens", ProvidesTokens, ("tokenizer",)),
    (UsesVocabulary, "characters", ProvidesCharacters, ("vocabulary",)),
)
"""For each contract of a module: what it trains on, the contract of data that has it, and the latter's attributes."""


def check_trainer_settings(trainer: Any) -> None:
    """Refuse settings of the Trainer that this program has another option for, or that cannot work.

    Args:
        trainer: The `trainer` section of the parsed config.

    Raises:
        ValueError: A setting is refused; the message names it and what to give instead.
    """
    if not hasattr(trainer, "default_root_dir"):
        raise ValueError(f"trainer is {trainer!r}, but must have settings below it, such as max_epochs: 3")
    if trainer.default_root_dir is not None:
        raise ValueError(
            f"trainer.default_root_dir is {trainer.default_root_dir}, but the run folder is chosen by --run_dir DIR or "
            "--name NAME; remove default_root_dir and pass one of them"
        )
    if trainer.enable_checkpointing is False:
        raise ValueError(
            "trainer.enable_checkpointing is false, but a run is tested and resumed from the checkpoints that "
            "BestCheckpoint and ResumeCheckpoint write; remove the setting, or pass --trainer.fast_dev_run 5 to try "
            "a few batches without checkpoints"
        )
    if trainer.precision in HALF:
        raise ValueError(
            f"trainer.precision is {trainer.precision}, which keeps weights and batch-norm statistics in 16 bits, "
            f"where small updates are lost; pass --trainer.precision {HALF[trainer.precision]}"
        )
    if trainer.sync_batchnorm and trainer.accelerator == "cpu":
        raise ValueError(
            "trainer.sync_batchnorm is true, but torch has batch norms over several processes on GPUs only; pass "
            "--trainer.sync_batchnorm false to train on a CPU"
        )
    if trainer.check_val_every_n_epoch == 0:
        raise ValueError(
            "trainer.check_val_every_n_epoch is 0, but must be at least 1, or null to count batches alone; pass "
            "--trainer.limit_val_batches 0 for a training without validation"
        )
    if not re.fullmatch(DEVICES, str(trainer.devices)):
        raise ValueError(f"trainer.devices must be a number, a list of numbers or auto, got {trainer.devices}")
    check_devices(trainer.accelerator, trainer.devices)


def check_devices(accelerator: Any, devices: Any) -> None:
    """Refuse GPUs that this machine does not have, and numbered devices where it computes on a CPU.

    Raises:
        ValueError: There is no GPU, or there are fewer than asked for; or a CPU is not asked for by a number.
    """
    if not isinstance(accelerator, str) or accelerator not in ("cpu", "gpu", "cuda", "mps", "auto"):
        return
    if accelerator == "cpu":
        _check_processes(devices)
        return
    mps = torch.backends.mps.is_available()
    count = 1 if mps and accelerator != "cuda" else torch.cuda.device_count() if accelerator != "mps" else 0
    if count == 0 and accelerator != "auto":
        build = "" if torch.version.cuda or mps else " (this torch is built without CUDA)"
        raise ValueError(
            f"trainer.accelerator is {accelerator}, but torch finds no such device{build}; pass --trainer.accelerator "
            "cpu, or auto for what is available"
        )
    if count:
        _check_count(devices, count)
    else:
        _check_processes(devices)


def _check_processes(devices: Any) -> None:
    """Raise ValueError if a CPU is asked for by anything but a number of processes."""
    if devices != "auto" and not re.fullmatch("[0-9]+", str(devices)):
        raise ValueError(
            f"trainer.devices is {devices}, but a CPU has no numbered devices: pass --trainer.devices 1, or another "
            "number of processes"
        )


def _check_count(devices: Any, count: int) -> None:
    """Raise ValueError if more than `count` GPUs are asked for, or one that does not exist."""
    names = devices.split(",") if isinstance(devices, str) and "," in devices else devices
    there = f"this machine has {count} GPU{'s' if count > 1 else ''}"
    if isinstance(names, list):
        numbers = [str(name).strip() for name in names]
        missing = [number for number in numbers if number.isdigit() and int(number) >= count]
        if missing:
            raise ValueError(
                f"trainer.devices names GPU {', '.join(missing)}, but {there}, numbered from 0; leave it out"
            )
    elif str(names).isdigit() and int(names) > count:
        raise ValueError(f"trainer.devices is {names}, but {there}; pass --trainer.devices {count}, or auto")


def check_callbacks(callbacks: list[Callback]) -> None:
    """Refuse callbacks that change settings behind the back of the saved config.

    Raises:
        ValueError: There is one; the message names the setting to give instead.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, LearningRateFinder):
            raise ValueError(
                f"{name} gives all parameter groups the same rate, but model.optimizer may give them different ones; "
                "remove it from trainer.callbacks and add --config sweeps/lr_range.yaml, which scales all of them"
            )
        if isinstance(callback, BatchSizeFinder):
            raise ValueError(
                f"{name} changes the batch size after config.yaml is written; remove it from trainer.callbacks, "
                "try sizes with --batch_sizes 64..1024, and pass one as --data.batch_size (or --data.batch_tokens)"
            )


def check_data_fits_model(model: LightningModule, data: LightningDataModule) -> None:
    """Refuse a model of one kind with data of another.

    Raises:
        ValueError: They do not fit; the message names the datamodules that do.
    """
    for contract, what, provider, attributes in NEEDS:
        if not isinstance(model, contract) or all(_has(data, name) for name in attributes):
            continue
        known = [
            cls.__name__
            for cls in _subclasses(LightningDataModule)
            if provider in cls.__mro__ and not cls.__subclasses__()
        ]
        raise ValueError(
            f"{type(model).__name__} works on {what}, but {type(data).__name__} has none: pass a matching datamodule, "
            f"such as --data {' or '.join(known)}, or another --model"
        )


def _has(data: LightningDataModule, name: str) -> bool:
    """Return whether data has an attribute, without evaluating a property, which may read files."""
    return name in vars(data) or hasattr(type(data), name)


def _subclasses(cls: type) -> list[type]:
    subclasses: list[type] = cls.__subclasses__()
    return [each for subclass in subclasses for each in (subclass, *_subclasses(subclass))]
