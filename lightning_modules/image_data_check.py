"""Checks that an image classifier fits the data that it is trained, scored or used on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from architectures.base import ImageClassifierNet
from lightning_modules.library_nets import LibraryNet
from utils.contracts import PredictsImages, ProvidesImages, ReadsImageFiles, datamodule_of


def check_number_of_classes(network: ImageClassifierNet, names: Sequence[str] | None) -> None:
    """Raise ValueError if a network is for another number of classes than there are names; None if there are none."""
    if names is not None and len(names) != network.num_classes:
        raise ValueError(
            f"the data has {len(names)} classes but model.architecture.num_classes is {network.num_classes}; pass "
            f"--model.architecture.num_classes {len(names)}"
        )


@torch.no_grad()
def check_outputs(network: ImageClassifierNet, size: int | None, certain: bool = False) -> None:
    """Raise ValueError unless a network returns one logit per class; it is tried on two images, in eval mode.

    A loss also takes logits of more classes than there are, and their probabilities would be wrong.

    Args:
        network: The network.
        size: Height and width of the images, in pixels; None if unknown: then nothing is tried.
        certain: Whether images will have this size. (A datamodule of one's own may leave its `input_size` at the
            default.)

    Raises:
        ValueError: It does not, or it cannot take images of this size and is a library's, or the size is certain.
    """
    if size is None:
        return
    training, parameter = network.training, next(network.parameters(), torch.zeros(()))
    images = torch.zeros(2, 3, size, size, dtype=parameter.dtype, device=parameter.device)
    try:
        logits = network.eval().forward(images)  # without the compiler, if an earlier fit has compiled it
    except Exception as error:  # a library's network may raise anything
        if not isinstance(network, LibraryNet) and not certain:
            return  # the first step shows the error, if any
        fix = (
            "pass other sizes in data.augmentation.progressive_sizes, or null"
            if certain
            else "pass another --data.image_size, 224 for most, or the network's option for the size of its images"
        )
        raise ValueError(
            f"{_name(network)} does not take images of {size}x{size} pixels ({' '.join(str(error).split())}): {fix}"
        ) from error
    finally:
        network.train(training)
    expected = [2, network.num_classes]
    if not isinstance(logits, Tensor) or list(logits.shape) != expected:
        library = isinstance(network, LibraryNet)
        fix = "choose another network" if library else "return only the logits from its forward"
        raise ValueError(
            f"model.architecture: {_name(network)} returns {_described(logits)} for two images, but must return one "
            f"logit per class, {expected}: {fix}"
        )


def check_same_data(
    trainer: Trainer, network: ImageClassifierNet, names: Sequence[str] | None, size: int | None
) -> None:
    """Check that labels and outputs mean the same classes, as `check_same_size` does for the size of the images.

    Args:
        trainer: The trainer, which has the data.
        network: The network.
        names: Names of the model's classes; None if it knows none.
        size: Height and width in pixels of the images that it was trained on; None if unknown.

    Raises:
        ValueError: They do not, or the network cannot take the images.
    """
    datamodule = datamodule_of(trainer)
    theirs = datamodule.class_names if isinstance(datamodule, ProvidesImages) else None
    if names is not None and theirs is not None and list(theirs) != list(names):
        raise ValueError(
            f"the data's classes are {_listed(theirs)} but the model was trained on {_listed(names)}; evaluate it on "
            "data with the same classes, or use `predict`"
        )
    check_same_size(trainer, network, size)


def check_same_size(trainer: Trainer, network: ImageClassifierNet, size: int | None) -> None:
    """Warn if a network is used on images of another size than it was trained on: nothing else would reveal it.

    Args:
        trainer: The trainer, which has the data.
        network: The network.
        size: Height and width in pixels of the images that it was trained on; None if unknown.

    Raises:
        ValueError: The network cannot take images of this size.
    """
    datamodule = datamodule_of(trainer)
    theirs = datamodule.input_size if isinstance(datamodule, ProvidesImages) else None
    if trainer.predicting and isinstance(datamodule, PredictsImages) and datamodule.predict_path:
        theirs = datamodule.prediction_size() if isinstance(datamodule, ReadsImageFiles) else None
    if size is None or theirs is None or theirs == size:
        return
    check_outputs(network, theirs)
    rank_zero_warn(
        f"the model was trained on images of {size}x{size} pixels, but these have {theirs}x{theirs}: its answers may "
        f"be worse; pass --data.image_size {size} if the datamodule takes it"
    )


def _name(network: ImageClassifierNet) -> str:
    return type(network).__name__ + (f" {network.name}" if isinstance(network, LibraryNet) else "")


def _described(outputs: Any) -> str:
    return str(list(outputs.shape)) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")
