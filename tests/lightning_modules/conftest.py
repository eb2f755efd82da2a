"""A silent Trainer, and two T5s to start from: one that transformers wrote, one that this program trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import Trainer

from architectures.t5.model import T5
from tests.lightning_modules.helpers import quiet_trainer
from tests.lightning_modules.text_fakes import Data, network, seq2seq


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that makes a silent Trainer; its arguments are those of `Trainer`."""
    return lambda **arguments: quiet_trainer(tmp_path, **arguments)


class Published(NamedTuple):
    path: Path
    model: Any  # transformers' T5ForConditionalGeneration


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """Return the folder of a checkpoint of transformers, of the shape of `network()`, without a tokenizer."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(4)
    shape = {"vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    config = transformers.T5Config(**shape, decoder_start_token_id=0)
    model = transformers.T5ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path / "published")
    return Published(tmp_path / "published", model)


class OwnCheckpoint(NamedTuple):
    path: Path
    network: T5
    pieces: dict[str, int]


@pytest.fixture
def own_checkpoint(tmp_path: Path) -> OwnCheckpoint:
    """Return a checkpoint as `oneforall fit` writes it, with the config and plain data only."""
    data, model = Data(), seq2seq(network(layer_norm_epsilon=1e-3))
    trained = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trained.fit(model, datamodule=data)
    trained.save_checkpoint(tmp_path / "own.ckpt")
    content = torch.load(tmp_path / "own.ckpt", weights_only=False)
    del content["hyper_parameters"]  # networks and functions, for which the command line has plain values
    fields = dataclasses.asdict(model.architecture.config)
    architecture = {"class_path": "T5", "init_args": {"config": fields}}
    content["config"] = {"model": {"class_path": "TextSeq2Seq", "init_args": {"architecture": architecture}}}
    torch.save(content, tmp_path / "own.ckpt")
    return OwnCheckpoint(tmp_path / "own.ckpt", model.architecture, data.tokenizer.get_vocab())
