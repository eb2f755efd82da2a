"""Loading a network's weights from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from architectures.base import ImageClassifierNet
from utils.checkpoints import first_few, load_plain

NETWORK_PREFIX = "architecture."
"""What the names of a network's weights begin with in a checkpoint of this program."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors` file, a `.pt` or `.pth` file, or a checkpoint of this program.

    Raises:
        ValueError: The file is damaged, or holds anything but tensors in plain containers.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        content: Any = load_plain(path)
    except Exception as error:  # safetensors raises a bare one
        raise ValueError(f"{path} cannot be read as weights ({error}); is the file complete?") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} holds no state dict (a mapping of names to tensors)")
    return network_weights(content) or content


def network_weights(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's part of the state dict of a LightningModule, names as in the network; empty if none."""
    return {
        name.removeprefix(NETWORK_PREFIX): value
        for name, value in state_dict.items()
        if name.startswith(NETWORK_PREFIX)
    }


def load_network(network: ImageClassifierNet, path: str | Path) -> None:
    """Copy all weights of a file into `network`, except those of a head for another number of classes.

    Raises:
        ValueError: Names or shapes do not fit the network; the message names the first few.
    """
    weights, target = read_state_dict(path), network.state_dict()
    head = f"{network.head}."
    weights = {
        name: value
        for name, value in weights.items()
        if not (name.startswith(head) and name in target and target[name].shape != value.shape)
    }
    # Files from before torch 0.4.1 have no such counters, and only a batch norm without momentum uses them.
    optional = [name for name in target if name.startswith(head) or name.endswith(".num_batches_tracked")]
    problems = [f"missing {name}" for name in target if name not in weights and name not in optional]
    problems += [f"unexpected {name}" for name in weights if name not in target]
    problems += [
        f"{name} is {tuple(value.shape)}, not {tuple(target[name].shape)}"
        for name, value in weights.items()
        if name in target and target[name].shape != value.shape
    ]
    if problems:
        raise ValueError(f"init_from {path} does not fit {type(network).__name__}: {first_few(problems)}")
    network.load_state_dict(weights, strict=False)
