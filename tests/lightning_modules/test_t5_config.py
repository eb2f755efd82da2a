"""Open fields of a config that starts from published weights: the sizes of the network, and the tokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest

from architectures.t5.hf_weights import save_pretrained
from architectures.t5.model import T5
from lightning_modules.t5_config import complete_t5_config, found_source
from tests.architectures.t5.oracle import CONFIGS

CONFIG, TOKENIZER = "model.init_args.architecture.init_args.config.", "data.init_args.tokenizer"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published folder without weights or tokenizer."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 24, "num_layers": 3}))
    return tmp_path


def config(source: Path) -> dict[str, Any]:
    network = {"class_path": "T5", "init_args": {"config": {}}}
    model = {"class_path": "TextSeq2Seq", "init_args": {"architecture": network, "init_from": str(source)}}
    return {"model": model, "data": {"class_path": "TextSeq2SeqDataModule", "init_args": {"tokenizer": None}}}


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.json"])
def test_fields_that_are_not_given_are_those_of_the_folder(folder: Path, name: str) -> None:
    (folder / name).touch()
    values = complete_t5_config(config(folder), {"model.architecture.config.num_layers"})
    assert (values[f"{CONFIG}d_model"], values[TOKENIZER]) == (24, str(folder))
    assert f"{CONFIG}num_layers" not in values


def test_weights_without_their_tokenizer_are_refused_unless_one_is_given(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer: copy .* spiece\.model or .*--data\.tokenizer"):
        complete_t5_config(config(folder), set())
    assert TOKENIZER not in complete_t5_config(config(folder), {"data.tokenizer"})


def test_an_output_layer_of_its_own_is_found_in_the_weights(tmp_path: Path) -> None:
    """Transformers 5 writes `tie_word_embeddings: true` whatever the file holds."""
    save_pretrained(T5(CONFIGS["untied-gated"]), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": True}))
    (tmp_path / "tokenizer.json").touch()
    assert complete_t5_config(config(tmp_path), set())[f"{CONFIG}tie_word_embeddings"] is False


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert found_source(str(tmp_path)) == str(tmp_path / "checkpoints" / "last.ckpt")
    assert found_source(str(tmp_path / "checkpoints")) == str(tmp_path / "checkpoints" / "last.ckpt")
    (tmp_path / "config.json").touch()
    assert found_source(str(tmp_path)) == str(tmp_path)  # a published one
    assert found_source("nowhere") == "nowhere"
