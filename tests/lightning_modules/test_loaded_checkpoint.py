"""What a module verifies of the checkpoint that it is given, by whomever and from whatever file it was loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from callbacks.weight_averaging import EMA
from tests.lightning_modules.helpers import quiet_trainer
from tests.lightning_modules.text_fakes import Data, network, seq2seq
from utils.checkpoints import explain_restore


class Save(Callback):
    """Writes a checkpoint within a fit, where it has averages and raw weights."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "a.ckpt", weights_only=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trainer = quiet_trainer(folder, max_epochs=3, limit_val_batches=0, callbacks=[EMA(decay=0.5), Save()])
    trainer.fit(seq2seq(network()), datamodule=Data())
    content = torch.load(folder / "a.ckpt", weights_only=False)
    del content["hyper_parameters"]  # networks and functions, for which the command line has plain values
    torch.save(content, folder / "a.ckpt")
    return folder / "a.ckpt"


def altered(saved: Path, path: Path, place: tuple[Any, ...], value: Any) -> Path:
    content = torch.load(saved, weights_only=True)
    container = content
    for key in place[:-1]:
        container = container[key]
    container[place[-1]] = value
    torch.save(content, path)
    return path


def testing(tmp_path: Path) -> Trainer:
    return quiet_trainer(tmp_path, limit_test_batches=1)


def test_what_was_saved_is_tested_with_the_averages_that_have_the_digests(saved, tmp_path):
    testing(tmp_path).test(seq2seq(network()), datamodule=Data(), ckpt_path=saved, weights_only=True)
    content = torch.load(saved, weights_only=True)
    assert content["digests"].keys() == content["state_dict"].keys()
    assert any(
        not torch.equal(value, content["current_model_state"][name]) for name, value in content["state_dict"].items()
    )


WRONG = [
    (("state_dict", "architecture.embedding.weight"), torch.zeros(24, 16), "embedding.weight of its weights was alter"),
    (("text_seq2seq",), [], "text_seq2seq must be of type dict"),
    (("text_seq2seq", "tokenizer"), 3, "text_seq2seq.tokenizer must be of type str, not int"),
    (("text_seq2seq", "tokenizer"), "{}", "the tokenizer in the checkpoint cannot be read"),
    (("loops", "test_loop", "batch_progress", "total", "ready"), "x", "batch_progress.total.ready must be of type int"),
]


@pytest.mark.parametrize(("place", "value", "words"), WRONG, ids=[".".join(each[0][-2:]) for each in WRONG])
def test_whatever_is_altered_is_refused_in_one_line(saved, tmp_path, place, value, words):
    path = altered(saved, tmp_path / "a.ckpt", place, value)
    with pytest.raises(ValueError, match=words) as refused:
        testing(tmp_path).test(seq2seq(network()), datamodule=Data(), ckpt_path=path, weights_only=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("optimizer_states", 0), {}),
        (("optimizer_states", 0, "param_groups"), 3),
        (("lr_schedulers", 0), {}),
        (("text_seq2seq", "train_sums"), {}),
        (("state_dict", "more"), torch.zeros(1)),
    ],
)
def test_a_state_that_lightning_cannot_restore_is_explained_in_one_line(saved, tmp_path, place, value):
    path = altered(saved, tmp_path / "a.ckpt", place, value)
    if place[0] == "state_dict":
        content = torch.load(path, weights_only=True)
        del content["digests"]
        torch.save(content, path)
    trainer = quiet_trainer(tmp_path, max_epochs=4, limit_val_batches=0, callbacks=[EMA(decay=0.5)])
    with pytest.raises(Exception) as raised:  # noqa: PT011  # of many types
        trainer.fit(seq2seq(network()), datamodule=Data(), ckpt_path=path, weights_only=True)
    explained = explain_restore(path, raised.value)
    assert explained is not None
    assert str(path) in explained
    assert "\n" not in explained


def test_an_error_of_another_kind_is_not_explained():
    with pytest.raises(KeyError) as raised:
        raise KeyError("optimizer")
    assert explain_restore("a.ckpt", raised.value) is None
