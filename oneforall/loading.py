"""Loading of a trained model from a checkpoint or a run folder."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import LightningDataModule

from command_line.paths import checkpoint_file
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.text_seq2seq import TextSeq2Seq
from lightning_modules.training_module import TrainingModule
from oneforall.image_model import ImageModel
from oneforall.text_model import TextModel
from utils.checkpoint_config import data_config, plain_config
from utils.checkpoints import read_config
from utils.files import require_checkpoint


def load(
    path: str | os.PathLike[str], device: str | torch.device = "cpu", trust_checkpoint: bool = False
) -> ImageModel | TextModel:
    """Return the model of a checkpoint, in eval mode.

    An image classifier has `predict`, for files and images; a text-to-text model has `translate`.

    Args:
        path: A checkpoint, or a run folder: its best.ckpt, else its last.ckpt. It is read as data, and its config
            passes the gate of `utils/trust.py`.
        device: Device on which it computes.
        trust_checkpoint: Whether the checkpoint may run any code, as in `TrainingModule.load_from_checkpoint`.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It is damaged, names anything but classes of this program, torch.optim and torchmetrics, or holds
            another kind of model; or there is no such device.
    """
    file = checkpoint_file(os.fspath(path))
    require_checkpoint(Path(file))
    _check_device(device)
    module = _module(file, device, trust_checkpoint)
    if isinstance(module, ImageClassifier):
        return ImageModel(module, file)
    if isinstance(module, TextSeq2Seq):
        data = _datamodule(file, trust_checkpoint)
        if isinstance(data, TextSeq2SeqDataModule):
            return TextModel(module, file, data.prefixes(), data.max_source_length)
        return TextModel(module, file)
    name = type(module).__name__
    raise ValueError(
        f"{file} holds {name}: use `oneforall predict`, or {name}.load_from_checkpoint in Python; `classify`, "
        "`translate` and `export` are for ImageClassifier and TextSeq2Seq"
    )


def _module(path: str, device: str | torch.device, trusted: bool) -> TrainingModule:
    """Return the module of a checkpoint, in eval mode, with the weights that `test` uses.

    Raises:
        ValueError: It cannot be used, or names a class that is not on the list or, trusted, cannot be imported.
    """
    base = _class_named_in(path) if trusted else TrainingModule
    return base.load_from_checkpoint(path, device, trust_checkpoint=trusted)


def _check_device(device: str | torch.device) -> None:
    """Raise ValueError if nothing can be computed on a device."""
    try:
        torch.empty(1, device=device).cpu()  # "meta" has no values to give back
    except (RuntimeError, AssertionError) as error:  # an assertion where torch has no CUDA
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(f"device {device} cannot be used here ({reason}); choose another, such as cpu") from error


def _class_named_in(path: str) -> type[TrainingModule]:
    """Return the class of the module in a trusted checkpoint, which may be of any package.

    Raises:
        ValueError: There is none, or it is not a `TrainingModule`.
    """
    class_path = str((plain_config(read_config(path), path).get("model") or {}).get("class_path"))
    package, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"checkpoint {path} names {class_path}, which cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, TrainingModule)):
        raise ValueError(f"checkpoint {path} names {class_path}, which is not a TrainingModule")
    return found


def _datamodule(path: str, trusted: bool) -> LightningDataModule:
    """Return the datamodule that a checkpoint's config describes, without reading its data.

    Raises:
        ValueError: The config is refused, or describes none.
    """
    config = read_config(path)
    data: Any = plain_config(config, path).get("data") if trusted else data_config(config, path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data", fail_untyped=False)
    try:
        built: LightningDataModule = parser.instantiate(parser.parse_object({"data": data})).data
    except ArgumentError as error:
        raise ValueError(f"the datamodule cannot be built from the config in checkpoint {path}: {error}") from error
    return built
