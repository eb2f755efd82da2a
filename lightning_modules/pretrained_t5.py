"""Loading a T5's weights from a published checkpoint or from one of this program."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import load_pretrained
from architectures.t5.model import T5
from lightning_modules.fsdp import is_split, load_whole
from lightning_modules.pretrained import network_weights, say_loaded
from lightning_modules.t5_config import found_source, missing
from utils.checkpoints import explain_misfit, read_checkpoint
from utils.tokenizer_files import find_tokenizer_file, load_tokenizer

FREE_FIELDS = ("dropout_rate", "dropout_places", "initializer_factor")
"""Fields in which a model may differ from the checkpoint that it starts from: neither weights nor outputs depend on
them."""


def load_weights(network: T5, source: str) -> dict[str, int] | None:
    """Copy the weights of a checkpoint into `network`.

    Args:
        network: The network to copy into.
        source: The folder of a published checkpoint, or a run folder or a checkpoint of `oneforall fit`.

    Returns:
        The pieces of the checkpoint's tokenizer and their ids; None if it has no tokenizer.

    Raises:
        FileNotFoundError: There is no such folder or file, or a file is missing from the folder.
        ValueError: It cannot be read, or the config of the network differs; the message names each field.
    """
    source = found_source(source)
    if not Path(source).exists():
        raise FileNotFoundError(missing(source))
    if Path(source).is_file():
        config, weights, pieces = _read_own_checkpoint(source)
    else:
        published = load_pretrained(source)
        config, weights = published.config, published.state_dict()
        has_tokenizer = find_tokenizer_file(Path(source)) is not None
        pieces = load_tokenizer(source).get_vocab() if has_tokenizer else None
    mine, theirs = _fixed_fields(network.config), _fixed_fields(config)
    changes = [f"{name} {theirs[name]} (not {mine[name]})" for name in mine if mine[name] != theirs[name]]
    if changes:
        raise ValueError(f"init_from: {source} needs model.architecture.config with {', '.join(changes)}")
    try:
        if is_split(network):
            load_whole(network, weights)
        else:
            network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"init_from: {explain_misfit(source, error) or error}") from error
    say_loaded(source, network.state_dict(), weights)
    return pieces


def _read_own_checkpoint(path: str) -> tuple[T5Config, dict[str, Tensor], dict[str, int] | None]:
    """Return config and weights of the network, and the pieces of the tokenizer, of a T5 that `oneforall fit` trained.

    Raises:
        ValueError: The file is damaged, or its weights were altered, or it is something else.
    """
    try:
        checkpoint = read_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"init_from: {error}") from error
    try:
        config = T5Config(**checkpoint["config"]["model"]["init_args"]["architecture"]["init_args"]["config"])
        tokenizer = checkpoint["text_seq2seq"]["tokenizer"]
        pieces = None if tokenizer is None else Tokenizer.from_str(tokenizer).get_vocab()
        weights = network_weights(checkpoint["state_dict"])
    except Exception as error:  # KeyError and TypeError for a checkpoint of another model; tokenizers raises a bare one
        raise ValueError(
            f"init_from: {path} is not a checkpoint of a T5 that `oneforall fit` wrote "
            f"({type(error).__name__}: {error}); pass one, or the folder of a published checkpoint"
        ) from error
    return config, weights, pieces


def _fixed_fields(config: T5Config) -> dict[str, Any]:
    """Return the fields on which weights or outputs depend, nulls replaced by what they stand for."""
    fields = dataclasses.asdict(config) | {
        "num_decoder_layers": config.decoder_depth,
        "scale_decoder_outputs": config.scales_decoder_outputs,
    }
    return {name: value for name, value in fields.items() if name not in FREE_FIELDS}
