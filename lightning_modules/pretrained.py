"""Starting a network from a file of weights."""

from pathlib import Path
from typing import Any

from torch import Tensor

from architectures.base import ImageClassifierNet
from utils.checkpoints import first_few, load_plain

NETWORK_PREFIX = "architecture."  # where a LightningModule of this project keeps its network


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads a state dict from a `.safetensors` file, a `.pt`/`.pth` file, or a checkpoint of this program.

    Raises:
        ValueError: The file is damaged, or holds anything but tensors in plain containers.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content: Any = load_plain(path)
    except Exception as error:  # safetensors raises a bare one
        raise ValueError(f"{path} cannot be read as weights ({error}); is the file complete?") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: holds no state dict (a mapping of names to tensors)")
    own = {k.removeprefix(NETWORK_PREFIX): v for k, v in content.items() if k.startswith(NETWORK_PREFIX)}
    return own or content


def load_network(network: ImageClassifierNet, path: str | Path) -> None:
    """Copies the weights of a file into `network`, all of them, except a head for another number of classes.

    Raises:
        ValueError: Names or shapes of the body do not fit the architecture; the message names the first few.
    """
    weights, target = read_state_dict(path), network.state_dict()
    head = f"{network.head}."
    weights = {
        name: value
        for name, value in weights.items()
        if not (name.startswith(head) and name in target and target[name].shape != value.shape)
    }
    # files from before torch 0.4.1 have no such counters, and only a batch norm without momentum uses them
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
