"""Loading a LightningModule from a checkpoint in Python, without running any code that the checkpoint names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import LightningModule
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters_context

from utils.checkpoint_config import model_config
from utils.checkpoints import check_format, explain_misfit, read_checkpoint
from utils.weights import with_versions_of

Module = TypeVar("Module", bound=LightningModule)


def load_module(base: type[Module], path: str | Path, strict: bool, changes: dict[str, Any]) -> Module:
    """Return the module of a checkpoint on the CPU, with its weights and the rest of its state.

    Args:
        base: The required class of the module, or a base class of it.
        path: The checkpoint.
        strict: Whether the weights must be exactly those of the module.
        changes: Arguments that differ from those of the checkpoint.

    Raises:
        FileNotFoundError, ValueError: As `TrainingModule.load_from_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    check_format(checkpoint, path)
    found, arguments = model_config(checkpoint, base, path)
    try:
        module: Module = build(found, arguments, changes, path)
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # of the right type, but huge
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"the model cannot be built from the config in checkpoint {path}: {first}") from error
    module.on_load_checkpoint(checkpoint)
    try:
        module.load_state_dict(with_versions_of(module, checkpoint["state_dict"]), strict=strict)
    except RuntimeError as error:
        raise ValueError(explain_misfit(path, error) or str(error)) from error
    return module


def build(found: type[Module], arguments: dict[str, Any], changes: dict[str, Any], path: str | Path) -> Module:
    """Return a module built from plain arguments, which have passed the gate, and from any objects in `changes`.

    Raises:
        ValueError: An argument is invalid.
    """
    from jsonargparse import ArgumentError, ArgumentParser  # not needed for training

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(found, "model", skip=set(changes), instantiate=False, fail_untyped=False)
    plain = {name: value for name, value in arguments.items() if name not in changes}
    try:
        objects = parser.instantiate(parser.parse_object({"model": plain})).get("model", {})
    except ArgumentError as error:
        raise ValueError(f"checkpoint {path} has arguments that {found.__name__} does not take: {error}") from error
    # What Lightning calls hyperparameters are plain values, as in a module that the command line has built
    values = {"_class_path": f"{found.__module__}.{found.__qualname__}", **plain}
    with _given_hyperparameters_context(values, "lightning.pytorch.cli.instantiate_module"):
        return found(**{**dict(objects.items()), **changes})
