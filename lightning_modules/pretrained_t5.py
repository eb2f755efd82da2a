"""Starting a T5 from a published checkpoint or from one of this program."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import load_pretrained
from architectures.t5.model import T5
from lightning_modules.pretrained import NETWORK_PREFIX

# Fields in which a model may differ from the checkpoint that it starts from: they shape no weight and no output.
FREE_FIELDS = ("dropout_rate", "initializer_factor")


def load_weights(network: T5, source: str) -> str | None:
    """Copies the weights of a checkpoint into `network`.

    Args:
        network: What to copy into.
        source: The folder of a published checkpoint, or a checkpoint file of `oneforall fit`.

    Returns:
        The tokenizer that the weights belong to, as its JSON; None where the checkpoint does not hold it.

    Raises:
        FileNotFoundError: There is no such folder or file, or a file is not in the folder.
        ValueError: It cannot be read, or the network has another shape; the message names each field that differs.
    """
    if Path(source).is_file():
        config, weights, tokenizer = read_checkpoint(source)
    else:
        published = load_pretrained(source)
        config, weights, tokenizer = published.config, published.state_dict(), None
    mine, theirs = shape_of(network.config), shape_of(config)
    changes = [f"{name} {theirs[name]} (not {mine[name]})" for name in mine if mine[name] != theirs[name]]
    if changes:
        raise ValueError(f"init_from: {source} needs model.architecture.config with {', '.join(changes)}")
    network.load_state_dict(weights)
    return tokenizer


def read_checkpoint(path: str) -> tuple[T5Config, dict[str, Tensor], str | None]:
    """The network's config and weights, and the tokenizer, of a checkpoint that `oneforall fit` wrote with a T5.

    Raises:
        ValueError: It is damaged, or something else.
    """
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
        config = T5Config(**checkpoint["config"]["model"]["init_args"]["architecture"]["init_args"]["config"])
        tokenizer = checkpoint["text_seq2seq"]["tokenizer"]
        state = checkpoint["state_dict"]
    except Exception as error:  # torch and zipfile have many for a damaged file
        raise ValueError(
            f"init_from: {path} is no whole checkpoint that `oneforall fit` wrote of a T5 ({type(error).__name__}); "
            "name one, or the folder of a published checkpoint"
        ) from error
    weights = {name.removeprefix(NETWORK_PREFIX): state[name] for name in state if name.startswith(NETWORK_PREFIX)}
    return config, weights, tokenizer


def shape_of(config: T5Config) -> dict[str, Any]:
    """The fields that a checkpoint's weights depend on, nulls replaced by what they stand for."""
    fields = dataclasses.asdict(config) | {
        "num_decoder_layers": config.decoder_depth,
        "scale_decoder_outputs": config.scales_decoder_outputs,
    }
    return {name: value for name, value in fields.items() if name not in FREE_FIELDS}
