"""Loading a network's weights from a file of this or another program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from architectures.base import ImageClassifierNet
from lightning_modules.library_nets import LibraryNet
from lightning_modules.torchvision_weights import with_current_names
from utils.error_text import first_few, text_of
from utils.files import refuse_lfs_pointer
from utils.torch_files import load_plain
from utils.weights import check_digests, check_finite, plain_weights, with_versions_of

NETWORK_PREFIX = "architecture."
"""Prefix of the names of a network's weights in a checkpoint of this program."""

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Keys under which programs keep the weights among other things, in order of preference."""

WRAPPERS = ("module", "_orig_mod")
"""What DataParallel and `torch.compile` insert into the names of a module that they wrap."""


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors` file or from one that `torch.save` wrote, a checkpoint for example.

    Raises:
        ValueError: The file is damaged, its weights were altered after they were saved or are not finite, or it holds
            anything but tensors in plain containers.
    """
    path = Path(path)
    refuse_lfs_pointer(path)
    try:
        content = _read(path)
        found = _unwrapped(content)
        weights = plain_weights(found)
        if isinstance(content, dict) and found is content.get("state_dict"):
            _check_own_digests(weights, content.get("digests"))
        check_finite(weights)
    except (ValueError, RuntimeError, TypeError, AttributeError, RecursionError) as error:  # odd values may raise any
        raise ValueError(f"init_from {path} cannot be read as weights ({text_of(error)})") from error
    return weights


def _read(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return load_plain(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"it is damaged or truncated ({error}); copy or download it again") from error


def _check_own_digests(weights: dict[str, Tensor], digests: Any) -> None:
    if isinstance(digests, dict) and all(isinstance(each, str) for pair in digests.items() for each in pair):
        check_digests(weights, digests)


def _unwrapped(content: Any) -> dict[str, Tensor]:
    """Return the state dict that a file holds: all of it, under one of `STATE_DICT_KEYS`, or its only one.

    Raises:
        ValueError: There is none, or more than one.
    """
    if _is_state_dict(content):
        weights: dict[str, Tensor] = content
        return weights
    if not isinstance(content, dict):
        raise ValueError(f"it holds no state dict (a mapping of names to tensors), but a {type(content).__name__}")
    for key in STATE_DICT_KEYS:
        if isinstance(content.get(key), dict):
            return _unwrapped(content[key])
    candidates = {str(key): value for key, value in content.items() if _is_state_dict(value)}
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    holds = (
        f"{len(candidates)} of them: {first_few(list(candidates))}" if candidates else first_few([*map(str, content)])
    )
    raise ValueError(f"it holds no single state dict (a mapping of names to tensors), but {holds or 'nothing'}")


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def network_weights(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's part of the state dict of a LightningModule, names as in the network; empty if none."""
    return {
        name.removeprefix(NETWORK_PREFIX): value
        for name, value in state_dict.items()
        if name.startswith(NETWORK_PREFIX)
    }


def with_names_of(target: Mapping[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names that a network gives them, whatever wrapped it when they were saved.

    The prefix under which most of the network's names are found is dropped, and with it what has another prefix;
    `module.` and `_orig_mod.` are dropped wherever they are.

    Raises:
        ValueError: The network is found under two prefixes equally well.
    """
    weights = _under_one_prefix(target, weights)
    unwrapped = {_without_wrappers(name): value for name, value in weights.items()}
    if not any(part in WRAPPERS for name in target for part in name.split(".")) and len(unwrapped) == len(weights):
        weights = _under_one_prefix(target, unwrapped)
    return weights


def _under_one_prefix(target: Mapping[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the prefix that matches most of the network's names, without the prefix."""
    found = Counter(name.removesuffix(known) for name in weights for known in _endings(name) if known in target)
    (prefix, count), *others = found.most_common(2) or [("", 0)]
    if found[""] == count:
        return weights
    if others and others[0][1] == count:
        raise ValueError(f"the network is in it twice, as {prefix}* and {others[0][0]}*: save only one of them")
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _endings(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def load_network(network: ImageClassifierNet, path: str | Path) -> None:
    """Copy all weights of a file into `network`, except those of a head for another number of classes, and report it.

    Raises:
        ValueError: Names or shapes do not fit the network; the message names the first few.
    """
    body: nn.Module = network
    heads = tuple(f"{head}." for head in network.head_names)
    if isinstance(network, LibraryNet):  # files have the library's names
        body, heads = network.network, tuple(head.removeprefix("network.") for head in heads)
    target = body.state_dict()
    try:
        weights = with_current_names(target, with_names_of(target, read_state_dict(path)))
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"init_from {path}: {error}") from error
    weights = {
        name: value
        for name, value in weights.items()
        if not (name.startswith(heads) and name in target and target[name].shape != value.shape)
    }
    # Files from before torch 0.4.1 have no such counters, and only a batch norm without momentum uses them.
    optional = [name for name in target if name.startswith(heads) or name.endswith(".num_batches_tracked")]
    problems = [f"missing {name}" for name in target if name not in weights and name not in optional]
    problems += [f"unexpected {name}" for name in weights if name not in target]
    problems += [
        f"{name} is {tuple(value.shape)}, not {tuple(target[name].shape)}"
        for name, value in weights.items()
        if name in target and target[name].shape != value.shape
    ]
    if problems:
        raise ValueError(f"init_from {path} does not fit {type(network).__name__}: {first_few(problems)}")
    body.load_state_dict(with_versions_of(body, weights), strict=False)
    say_loaded(path, target, weights)


def say_loaded(path: str | Path, target: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Report how many tensors of a network were loaded from a file, and which were not."""
    new = [name for name in target if name not in weights]
    loaded = len(target) - len(new)
    rank_zero_info(
        f"init_from {path}: {loaded} of {len(target)} tensors loaded" + (f"; new: {first_few(new, 6)}" if new else "")
    )
