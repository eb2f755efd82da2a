"""Open config fields of a T5 that starts from weights: the sizes of the network, and the tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import has_tied_head, published_config
from utils.checkpoints import read_config
from utils.run_weights import weights_of_run
from utils.tokenizer_files import TOKENIZER_FILES, find_tokenizer_file

HUB = (("t5-v1_1", "google"), ("flan-t5", "google"), ("t5", "google-t5"))
"""Prefixes of the names of published T5s, and who publishes them."""


def complete_t5_config(config: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Return values for the open fields of a T5's config; arguments as `CompletesConfig.complete`.

    The fields of the network are those of `init_from`, and the tokenizer is the one beside its weights.

    Raises:
        FileNotFoundError: `init_from` does not exist, and the message says how to download a published T5; or it is a
            folder without a tokenizer, and `data.tokenizer` is not given.
        ValueError: It is not a T5.
    """
    arguments = config["model"]["init_args"]
    source, network = arguments.get("init_from"), arguments["architecture"].get("init_args") or {}
    if not source or "config" not in network:
        return {}
    source = found_source(source)
    values = {
        f"model.init_args.architecture.init_args.config.{name}": value
        for name, value in dataclasses.asdict(config_of(source)).items()
        if f"model.architecture.config.{name}" not in given
    }
    data = config.get("data", {}).get("init_args") or {}
    if "tokenizer" in data and "data.tokenizer" not in given:
        file = Path(source)
        beside = file if file.is_dir() else file.absolute().parent.parent  # the run folder of a checkpoint
        if find_tokenizer_file(beside) is not None:
            values["data.init_args.tokenizer"] = str(beside)
        elif file.is_dir():  # one that is trained here would give the embedding's rows to other tokens, unseen
            raise FileNotFoundError(
                f"init_from: {source} has no tokenizer: copy or download the {' or '.join(reversed(TOKENIZER_FILES))} "
                "that its weights were trained with into it, or pass --data.tokenizer FILE (null to train a new one)"
            )
    return values


def found_source(source: str) -> str:
    """Return the checkpoint that a run folder stands for; any other source as it is."""
    folder = Path(source)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return source
    return str(weights_of_run(folder) or source)


def config_of(source: str) -> T5Config:
    """Return the config of the network whose weights a folder or a checkpoint of this program holds.

    Raises:
        FileNotFoundError: There is neither; the message says how to download a published T5.
        ValueError: It is not a T5.
    """
    if Path(source).is_dir():
        tied = has_tied_head(source)
        return published_config(source, **({} if tied is None else {"tie_word_embeddings": tied}))
    if not Path(source).is_file():
        raise FileNotFoundError(missing(source))
    try:
        return T5Config(**read_config(source)["model"]["init_args"]["architecture"]["init_args"]["config"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"init_from: {source} is not a checkpoint of a T5 that `oneforall fit` wrote") from error


def missing(source: str) -> str:
    """Return the message for weights that do not exist: how to download those of a T5 of this name."""
    name = Path(source).name
    owner = next((owner for beginning, owner in HUB if name.startswith(beginning)), None)
    repository, folder = (f"{owner}/{name}", source) if owner else ("google-t5/t5-small", "checkpoints/t5-small")
    return (
        f"init_from: {source} does not exist; download a published T5 from https://huggingface.co/{repository}: "
        f'`pip install huggingface_hub` and `hf download {repository} --include "*.json" "*.model" "*.safetensors" '
        f'"pytorch_model*.bin" --local-dir {folder}`'
    )
