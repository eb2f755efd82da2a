"""Starting a T5 from a published checkpoint or from one of this program."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import load_pretrained
from architectures.t5.model import T5
from lightning_modules.pretrained import NETWORK_PREFIX

# Fields in which a model may differ from the checkpoint that it starts from: they shape no weight and no output.
FREE_FIELDS = ("dropout_rate", "initializer_factor")


def load_weights(network: T5, source: str) -> dict[str, int] | None:
    """Copies the weights of a checkpoint into `network`.

    Args:
        network: What to copy into.
        source: The folder of a published checkpoint, or a checkpoint file of `oneforall fit`.

    Returns:
        The pieces of the weights' own tokenizer and their ids; None where the checkpoint does not hold it.

    Raises:
        FileNotFoundError: There is no such folder or file, or a file is not in the folder.
        ValueError: It cannot be read, or the network has another shape; the message names each field that differs.
    """
    if Path(source).is_file():
        config, weights, pieces = read_checkpoint(source)
    else:
        published = load_pretrained(source)
        config, weights, pieces = published.config, published.state_dict(), published_pieces(Path(source))
    mine, theirs = shape_of(network.config), shape_of(config)
    changes = [f"{name} {theirs[name]} (not {mine[name]})" for name in mine if mine[name] != theirs[name]]
    if changes:
        raise ValueError(f"init_from: {source} needs model.architecture.config with {', '.join(changes)}")
    network.load_state_dict(weights)
    return pieces


def published_pieces(folder: Path) -> dict[str, int] | None:
    """The pieces and ids of the folder's tokenizer.json or else spiece.model; None where it holds neither.

    Raises:
        ValueError: It cannot be read.
    """
    file = next((folder / name for name in ("tokenizer.json", "spiece.model") if (folder / name).is_file()), None)
    if file is None:
        return None
    try:
        if file.suffix == ".json":
            return Tokenizer.from_file(str(file)).get_vocab()
        from sentencepiece import SentencePieceProcessor

        pieces = SentencePieceProcessor(model_file=str(file))
        return {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    except Exception as error:  # both libraries raise bare ones
        raise ValueError(f"init_from: {file} cannot be read as a tokenizer: {error}") from error


def read_checkpoint(path: str) -> tuple[T5Config, dict[str, Tensor], dict[str, int] | None]:
    """The network's config and weights, and its tokenizer's pieces, of a T5's checkpoint that `oneforall fit` wrote.

    Raises:
        ValueError: It is damaged, or something else.
    """
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
        config = T5Config(**checkpoint["config"]["model"]["init_args"]["architecture"]["init_args"]["config"])
        tokenizer = checkpoint["text_seq2seq"]["tokenizer"]
        pieces = None if tokenizer is None else Tokenizer.from_str(tokenizer).get_vocab()
        state = checkpoint["state_dict"]
    except Exception as error:  # torch and zipfile have many for a damaged file
        raise ValueError(
            f"init_from: {path} is no whole checkpoint that `oneforall fit` wrote of a T5 ({type(error).__name__}); "
            "name one, or the folder of a published checkpoint"
        ) from error
    weights = {name.removeprefix(NETWORK_PREFIX): state[name] for name in state if name.startswith(NETWORK_PREFIX)}
    return config, weights, pieces


def shape_of(config: T5Config) -> dict[str, Any]:
    """The fields that a checkpoint's weights depend on, nulls replaced by what they stand for."""
    fields = dataclasses.asdict(config) | {
        "num_decoder_layers": config.decoder_depth,
        "scale_decoder_outputs": config.scales_decoder_outputs,
    }
    return {name: value for name, value in fields.items() if name not in FREE_FIELDS}
