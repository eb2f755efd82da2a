"""Weights that torchvision publishes: which of them fit a network, and the file that `init_from` names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from architectures.mobilenet_v2 import MobileNetV2
from architectures.resnet import ResNet
from lightning_modules.library_nets import TorchvisionNet
from utils.distributed import gather_parts
from utils.downloads import fetch, is_address
from utils.run_weights import weights_of_run

Offline = Literal["stop", "scratch"]

_RENAMED = (
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),  # vision transformers
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=\d\.)"), r"\1"),
)
"""What has another name in published files than in the networks, and that name; torchvision's loaders rename it too."""

_EXTRA_HEADS = ("aux1.", "aux2.", "AuxLogits.")
"""Beginnings of the names of heads that only help to train."""


def published_address(network: nn.Module, num_classes: int) -> str | None:
    """Return the address of torchvision's weights for a network; None if it publishes none for it."""
    from torchvision.models import get_model, get_model_weights, list_models

    if isinstance(network, TorchvisionNet):
        name, network = network.name, network.network
    elif isinstance(network, ResNet):
        name = f"resnet{network.depth}"
    else:
        name = "mobilenet_v2" if isinstance(network, MobileNetV2) else ""
    if name not in list_models() or not len(weights := get_model_weights(name)):
        return None
    with torch.device("meta"):
        published = get_model(name, num_classes=num_classes)
    return str(weights.DEFAULT.url) if _shapes(published) == _shapes(network) else None


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def with_current_names(target: Mapping[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights under the names of a network, without extra heads that it does not have."""
    for old, new in _RENAMED:
        if not any(map(old.search, target)):
            weights = {old.sub(new, name): value for name, value in weights.items()}
    if any(name.startswith(_EXTRA_HEADS) for name in target):
        return weights
    return {name: value for name, value in weights.items() if not name.startswith(_EXTRA_HEADS)}


def weights_file(source: str, offline: Offline = "stop", network: ImageClassifierNet | None = None) -> Path | None:
    """Return the file of weights that `init_from` names, downloaded if it is an address.

    Args:
        source: A file, a run folder, or an address.
        offline: What happens if the address cannot be reached.
        network: The network that they are for, if there is one yet.

    Returns:
        The file; None if training starts from scratch instead, which is reported.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The address cannot be reached, and `offline` is "stop".
    """
    if is_address(source):
        return _downloaded(source, offline)
    if Path(source).is_dir():
        if (of_run := weights_of_run(Path(source))) is None:
            raise FileNotFoundError(f"init_from: {source} is a folder without checkpoints/best.ckpt or last.ckpt")
        return of_run
    if not Path(source).is_file():
        address = published_address(network, network.num_classes) if network is not None else None
        hint = f"; torchvision publishes weights for this network: --model.init_from {address}" if address else ""
        raise FileNotFoundError(f"init_from: no such file: {source}{hint}")
    return Path(source)


def _downloaded(address: str, offline: Offline) -> Path | None:
    try:
        return fetch(address)
    except OSError as error:
        if offline == "stop":
            raise OSError(f"init_from: {error}, or pass a file with --model.init_from FILE") from error
        rank_zero_warn(
            f"init_from: {error}. Training starts from scratch instead, which needs more images and more epochs for "
            "the same accuracy"
        )
        return None


def check_all_start_alike(has_weights: bool) -> None:
    """Raise OSError unless all processes have weights to start from, or none has; every process must call this."""
    if len(set(gather_parts(has_weights))) > 1:  # they would train different networks
        raise OSError("init_from: some processes cannot get its weights: pass a file that all of them can read")
