"""Loss, gradients and scores against torch on all sentences at once, at any number of processes, and checkpoints."""

import contextlib
import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from architectures.t5.model import T5
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.text_seq2seq import TextSeq2Seq
from tests.close import assert_close
from tests.lightning_modules.helpers import quiet_trainer
from tests.lightning_modules.text_fakes import (
    WORDS,
    Data,
    loader,
    mean_loss,
    network,
    seq2seq,
    sgd,
    talkative,
    token_accuracy,
    word_tokenizer,
)


@pytest.fixture
def trainer(trainer: Callable[..., Trainer]) -> Callable[..., Trainer]:
    """The same without validation, which would generate text."""
    return lambda **arguments: trainer(**{"limit_val_batches": 0, **arguments})


def gradients_of(net: T5) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


class KeepGradients(Callback):
    """Keeps the gradients of each optimizer step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.steps.append(gradients_of(pl_module.architecture))


# --- arguments and data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"z_loss": -1e-4}, "z_loss"),
        ({"validation_examples": -1}, "validation_examples"),
        ({"max_length": 0}, "max_length"),
        ({"num_beams": 0}, "num_beams"),
        ({"min_length": 20}, "min_length must be at most max_length, 12, got 20"),
        ({"do_sample": True}, "num_beams must be 1 if do_sample is true, got 4"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"scores": "bleu"}, r"scores must be a list such as \[bleu\], got 'bleu'"),
        ({"scores": ["bleu", "meteor"]}, "scores must be one of .*'rouge', got 'meteor'"),
        ({"bleu_tokenizer": "moses"}, "bleu_tokenizer must be one of"),
        ({"decode_precision": "fp16"}, "decode_precision must be one of 'auto', 'fp32', 'bf16', got 'fp16'"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        seq2seq(**arguments)


def test_a_tokenizer_too_large_for_the_network_is_refused_before_training(trainer):
    with pytest.raises(ValueError, match=r"24 tokens but model\.architecture\.config\.vocab_size is 20"):
        trainer().fit(seq2seq(network(vocab_size=20)), datamodule=Data())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pad_token_id": 3}, r"config\.pad_token_id is 3, but <pad> has id 0 in the tokenizer"),
        ({"eos_token_id": 2}, r"config\.eos_token_id is 2, but </s> has id 1 in the tokenizer"),
        ({"decoder_start_token_id": 1}, r"config\.decoder_start_token_id is 1, which is '</s>'"),
        ({"decoder_start_token_id": 5}, r"config\.decoder_start_token_id is 5, which is 'c' in the tokenizer"),
    ],
)
def test_special_tokens_unlike_those_of_the_tokenizer_are_refused_before_training(trainer, fields, message):
    model = seq2seq(network(**fields))
    with pytest.raises(ValueError, match=message):
        trainer().fit(model, datamodule=Data())
    assert model.tokenizer is None


def test_a_target_may_start_with_any_special_token(trainer):
    trainer().fit(seq2seq(network(decoder_start_token_id=2)), datamodule=Data())
    trainer().fit(seq2seq(network(vocab_size=25, decoder_start_token_id=24)), datamodule=Data())


# --- loss and gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[8], [4, 4], [1, 5, 2]])
def test_24725_gradients_are_those_of_the_mean_over_all_tokens(trainer, sizes):
    """One batch of eight sentences, or the same eight in accumulated parts with unequal numbers of tokens."""
    data, net = Data(sizes=sizes), network()
    oracle = copy.deepcopy(net)
    mean_loss(oracle, data.whole(), 0.1).backward()
    kept = KeepGradients()
    trainer(callbacks=[kept], accumulate_grad_batches=len(sizes)).fit(seq2seq(net), datamodule=data)

    assert len(kept.steps) == 1
    assert kept.steps[0].keys() == gradients_of(oracle).keys()
    for name, gradient in gradients_of(oracle).items():
        assert_close(kept.steps[0][name], gradient, what=name)
    assert len({data.tokens(places) / len(places) for places in data.places}) == len(sizes)


def test_34191_the_last_group_of_an_epoch_may_be_shorter(trainer):
    data, net = Data(sizes=[3, 3, 2]), network()
    oracle = copy.deepcopy(net)
    mean_loss(oracle, data.batch(data.places[2]), 0.1).backward()
    kept = KeepGradients()
    model = seq2seq(net, optimizer=sgd(0.0))
    trainer(callbacks=[kept], accumulate_grad_batches=2).fit(model, datamodule=data)
    for name, gradient in gradients_of(oracle).items():
        assert_close(kept.steps[1][name], gradient, what=name)


def test_two_ranks_with_four_sentences_each_have_the_gradients_of_eight(monkeypatch):
    """DDP takes the mean of two ranks' gradients, each with another number of tokens."""
    data, net = Data(sizes=[4, 4]), network()
    oracle = copy.deepcopy(net)
    mean_loss(oracle, data.whole(), 0.1).backward()

    class TwoRanks:
        world_size, accumulate_grad_batches = 2, 1

    model = seq2seq(net)
    monkeypatch.setattr(TextSeq2Seq, "trainer", TwoRanks())
    monkeypatch.setattr(TextSeq2Seq, "log", lambda *args, **kwargs: None)
    everything = data.tokens(torch.arange(8))
    assert data.tokens(data.places[0]) != data.tokens(data.places[1])
    for places in data.places:
        (model.training_step(data.batch(places, everything), 0) / 2).backward()
    for name, gradient in gradients_of(oracle).items():
        assert_close(gradients_of(net)[name], gradient, what=name)


class RankData(Data):
    """Gives rank r batch r, with the number of tokens of both."""

    def train_dataloader(self) -> Any:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        everything = self.tokens(torch.arange(len(self.pairs)))
        return loader([self.places[rank]], lambda places: self.batch(places, everything))

    def val_dataloader(self) -> Any:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        return loader([self.places[rank]], self.batch)


class KeepResults(Callback):
    """Writes what each rank knows at the end of a validation to a file."""

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        found = {"generated": pl_module.generated, "metrics": metrics}
        Path(trainer.default_root_dir, f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def fit_as_one_of_two(folder: str) -> None:
    """Run as each of the processes of the test below."""
    running = quiet_trainer(folder, strategy="ddp", devices=2, callbacks=[KeepResults()])
    running.fit(seq2seq(talkative(), scores=["bleu"]), datamodule=RankData(sizes=[4, 4]))


@pytest.mark.first
@pytest.mark.slow
def test_two_processes_train_and_score_as_one(trainer, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[2])
    subprocess.run([*launch, __file__, str(tmp_path)], env={**os.environ, "PYTHONPATH": root}, check=True, timeout=300)
    compare_with_one_process(trainer(limit_val_batches=1.0), tmp_path)


def compare_with_one_process(alone: Trainer, folder: Path) -> None:
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    assert ranks[1]["generated"] == []  # the first process has all texts
    model = seq2seq(talkative(), scores=["bleu"])
    alone.fit(model, datamodule=Data(sizes=[8]))
    expected = [[text.index, text.source, list(text.references), text.hypothesis] for text in model.generated]
    assert [text[:4] for text in ranks[0]["generated"]] == expected
    assert len(expected) == 8
    for name in ("val/loss", "val/token_accuracy", "val/bleu"):
        assert ranks[0]["metrics"][name] == pytest.approx(alone.callback_metrics[name].item(), rel=1e-4), name


def test_training_metrics_are_means_over_the_tokens_of_the_epoch(trainer):
    data, net = Data(sizes=[1, 5, 2]), network()
    expected = mean_loss(net, data.whole()).item()
    trained = trainer()
    trained.fit(seq2seq(net, optimizer=sgd(0.0)), datamodule=data)
    assert trained.callback_metrics["train/loss"] == pytest.approx(expected, rel=1e-5)
    assert trained.callback_metrics["train/token_accuracy"] == pytest.approx(token_accuracy(net, data), abs=1e-6)
    assert trained.callback_metrics["lr"] == 0


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_the_tokenizer_travels_in_the_checkpoint(trainer, tmp_path):
    data, model = Data(), seq2seq()
    trained = trainer()
    trained.fit(model, datamodule=data)
    trained.save_checkpoint(tmp_path / "a.ckpt")
    loaded = TextSeq2Seq.load_from_checkpoint(tmp_path / "a.ckpt", trust_checkpoint=True, optimizer=sgd())
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.to_str() == data.tokenizer.to_str()
    sources = [source for source, _ in data.pairs]
    assert loaded.translate(sources) == model.translate(sources)

    data.tokenizer = word_tokenizer([*WORDS[:3], *reversed(WORDS[3:])])
    with pytest.raises(ValueError, match=r"a\.ckpt.*--data\.tokenizer"):
        trainer().fit(seq2seq(), datamodule=data, ckpt_path=tmp_path / "a.ckpt", weights_only=False)


class Killed(Exception):
    """Stands for the end of a process."""


class Kill(Callback):
    """Stops in the middle of an epoch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 5:
            raise Killed


def test_a_run_resumed_in_mid_epoch_equals_one_that_was_never_interrupted(trainer, tmp_path):
    """Weights, optimizer state and metrics to the last bit, with dropout."""

    def model() -> TextSeq2Seq:
        return seq2seq(network(dropout_rate=0.2), optimizer=lambda groups: ScaledAdamW(groups, lr=0.02), seed=5)

    def run(**arguments: Any) -> tuple[TextSeq2Seq, Trainer]:
        callbacks = [ResumeCheckpoint(every_n_seconds=1e9, every_n_steps=1), *arguments.pop("callbacks", [])]
        running, module = trainer(max_epochs=2, limit_val_batches=1.0, callbacks=callbacks), model()
        with contextlib.suppress(Killed):
            running.fit(module, datamodule=Data(count=14, batch_size=4), weights_only=False, **arguments)
        return module, running

    whole, one = run()
    (tmp_path / "checkpoints/last.ckpt").unlink()
    run(callbacks=[Kill()])
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=False)["global_step"] == 5
    resumed, other = run(ckpt_path=tmp_path / "checkpoints/last.ckpt")

    assert other.global_step == one.global_step == 8
    for mine, theirs in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    states = [list(each.optimizers[0].state_dict()["state"].values()) for each in (one, other)]
    for mine, theirs in zip(*states, strict=True):
        assert mine["step"] == theirs["step"] == 8
        assert torch.equal(mine["exp_avg"], theirs["exp_avg"])
    assert one.callback_metrics.keys() == other.callback_metrics.keys()
    for name, value in one.callback_metrics.items():
        assert torch.equal(value, other.callback_metrics[name]), name


# --- initial weights -----------------------------------------------------------------------------------------------


def test_init_from_starts_a_new_training(trainer, own_checkpoint):
    net = network(layer_norm_epsilon=1e-3, dropout_rate=0.3)
    model = seq2seq(net, optimizer=sgd(0.0), init_from=str(own_checkpoint.path))
    assert not torch.equal(net.embedding.weight, own_checkpoint.network.embedding.weight)
    trainer().fit(model, datamodule=Data())
    for name, theirs in own_checkpoint.network.state_dict().items():
        assert torch.equal(net.state_dict()[name], theirs), name


def test_init_from_refuses_another_tokenizer_than_that_of_the_weights(trainer, published, own_checkpoint):
    Data().tokenizer.save(str(published.path / "tokenizer.json"))
    for source, net in ((published.path, network()), (own_checkpoint.path, network(layer_norm_epsilon=1e-3))):
        data = Data()
        trainer().fit(seq2seq(net, init_from=str(source)), datamodule=data)
        data.tokenizer = word_tokenizer([*WORDS[:3], *reversed(WORDS[3:])])
        with pytest.raises(ValueError, match=rf"{source}: '.' has id \d+ there and \d+ here; pass --data\.tokenizer"):
            trainer().fit(seq2seq(net, init_from=str(source)), datamodule=data)


def test_a_resumed_training_does_not_read_init_from(trainer, tmp_path):
    """A checkpoint is enough: what the training started from may be gone."""
    trained = trainer(max_steps=1)
    trained.fit(model := seq2seq(), datamodule=Data())
    trained.save_checkpoint(tmp_path / "a.ckpt")
    resumed = seq2seq(network(), init_from="nowhere", optimizer=sgd(0.0))
    trainer(max_epochs=2).fit(resumed, datamodule=Data(), ckpt_path=tmp_path / "a.ckpt", weights_only=False)
    assert resumed.optimizers().param_groups[0]["lr"] == 0.1  # the optimizer's state is that of the checkpoint
    assert model.state_dict().keys() == resumed.state_dict().keys()


# --- compiler ------------------------------------------------------------------------------------------------------


def test_a_compiled_network_keeps_its_names(trainer, monkeypatch):
    compiled: list[Any] = []

    def compile_nothing(target: Any, *args: Any, **kwargs: Any) -> Any:
        compiled.append(target)
        return target

    monkeypatch.setattr(torch, "compile", compile_nothing)
    model = seq2seq(compile_network=True)
    names = list(seq2seq().state_dict())
    trainer(max_steps=1).fit(model, datamodule=Data())
    assert len(compiled) == 2
    assert list(model.state_dict()) == names


if __name__ == "__main__":
    fit_as_one_of_two(sys.argv[1])
