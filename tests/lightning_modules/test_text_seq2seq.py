import contextlib
import copy
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F

from architectures.t5.config import T5Config
from architectures.t5.generation import generate
from architectures.t5.model import T5
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.weight_averaging import EMA
from datamodules.loader import BatchLoader, training_position
from datamodules.text_seq2seq import Seq2SeqBatch
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.optim.schedules import Constant
from lightning_modules.text_scores import score_texts
from lightning_modules.text_seq2seq import TextSeq2Seq

WORDS = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstu"]


def word_tokenizer(words: list[str] = WORDS) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(words[:3])
    return tokenizer


def network(dropout_rate: float = 0.0, **fields: Any) -> T5:
    torch.manual_seed(0)
    shape = {"vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    return T5(T5Config(dropout_rate=dropout_rate, **{**shape, **fields}))


def sgd(lr: float = 0.1) -> Any:
    return lambda groups: torch.optim.SGD(groups, lr=lr)


def seq2seq(net: T5 | None = None, **arguments: Any) -> TextSeq2Seq:
    arguments = {"optimizer": sgd(), "schedule": Constant, "max_length": 12, **arguments}
    return TextSeq2Seq(net or network(), **arguments)


def loader(batches: Any, fetch: Any) -> BatchLoader[Seq2SeqBatch]:
    return BatchLoader(lambda epoch: batches, lambda places, epoch, step: fetch(places))


class Data(LightningDataModule):
    """Pairs of random letters of unequal lengths, in batches of so many pairs."""

    def __init__(self, count: int = 8, batch_size: int = 8, sizes: list[int] | None = None) -> None:
        super().__init__()
        self.tokenizer = word_tokenizer()
        generator = torch.Generator().manual_seed(1)
        self.pairs: list[tuple[str, str]] = []
        for _ in range(count):
            letters = [WORDS[k] for k in torch.randint(3, 24, (16,), generator=generator).tolist()]
            source, target = torch.randint(1, 8, (2,), generator=generator).tolist()
            self.pairs.append((" ".join(letters[:source]), " ".join(letters[8 : 8 + target])))
        self.places = torch.arange(count).split(sizes or batch_size)
        self.predict_count = count

    def batch(self, places: Tensor, step_tokens: int = 0) -> Seq2SeqBatch:
        sources, targets = ([self.pairs[place][side] for place in places] for side in (0, 1))
        input_ids = self.padded(sources, 0)
        return Seq2SeqBatch(
            input_ids=input_ids,
            attention_mask=input_ids != 0,
            labels=self.padded(targets, -100),
            index=places,
            sources=[] if step_tokens else sources,
            references=[] if step_tokens else [(target,) for target in targets],
            step_tokens=step_tokens,
        )

    def padded(self, texts: list[str], value: int) -> Tensor:
        ids = [self.tokenizer.encode(text).ids for text in texts]
        width = 1 + max(map(len, ids))  # a column of nothing but padding
        return torch.tensor([row + [value] * (width - len(row)) for row in ids])

    def tokens(self, places: Tensor) -> int:
        return sum(len(self.pairs[place][1].split()) + 1 for place in places)

    def train_dataloader(self) -> Any:
        def fetch(places: Tensor, epoch: int, step: int) -> Seq2SeqBatch:
            parts = self.trainer.accumulate_grad_batches  # type: ignore[union-attr]
            group = self.places[step - step % parts :][:parts]
            return self.batch(places, sum(map(self.tokens, group)))

        return BatchLoader(lambda epoch: self.places, fetch, lambda: training_position(self.trainer))

    def val_dataloader(self) -> Any:
        return loader(self.places[::-1], self.batch)

    test_dataloader = val_dataloader

    def predict_dataloader(self) -> Any:
        def fetch(places: Tensor) -> Seq2SeqBatch:
            nothing = torch.zeros(len(places), 0, dtype=torch.long)
            return self.batch(places)._replace(labels=nothing, references=[])

        return loader(self.places, fetch)

    def whole(self) -> Seq2SeqBatch:
        return self.batch(torch.arange(len(self.pairs)))


def quiet_trainer(folder: str | Path, **arguments: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **{"max_epochs": 1, "num_sanity_val_steps": 0, "limit_val_batches": 0, **arguments},
    )


@pytest.fixture
def trainer(tmp_path: Path):
    return lambda **arguments: quiet_trainer(tmp_path, **arguments)


def mean_loss(net: T5, batch: Seq2SeqBatch, label_smoothing: float = 0.0) -> Tensor:
    """The mean over all target tokens, by torch's own cross-entropy."""
    shifted = torch.cat([torch.zeros(len(batch.labels), 1, dtype=torch.long), batch.labels[:, :-1].clamp(min=0)], 1)
    logits = net(batch.input_ids, batch.attention_mask, shifted)
    return F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), label_smoothing=label_smoothing)


def gradients_of(net: T5) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


class KeepGradients(Callback):
    """What each optimizer step was taken with."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.steps.append(gradients_of(pl_module.architecture))


# --- what it is told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"z_loss": -1e-4}, "z_loss"),
        ({"validation_examples": -1}, "validation_examples"),
        ({"max_length": 0}, "max_length"),
        ({"num_beams": 0}, "num_beams"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
    ],
)
def test_impossible_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        seq2seq(**arguments)


def test_a_tokenizer_too_large_is_refused_before_training(trainer):
    with pytest.raises(ValueError, match=r"24 tokens but model\.architecture\.config\.vocab_size is 20"):
        trainer().fit(seq2seq(network(vocab_size=20)), datamodule=Data())


def test_an_endless_schedule_is_refused(trainer):
    with pytest.raises(ValueError, match="max_epochs"):
        trainer(max_epochs=-1).fit(seq2seq(), datamodule=Data())


# --- loss and gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[8], [4, 4], [1, 5, 2]])
def test_gradients_are_those_of_the_mean_over_all_tokens(trainer, sizes):
    """One batch of eight sentences, or the same eight in accumulated parts with unequal numbers of tokens."""
    data, net = Data(sizes=sizes), network()
    oracle = copy.deepcopy(net)
    mean_loss(oracle, data.whole(), 0.1).backward()
    kept = KeepGradients()
    trainer(callbacks=[kept], accumulate_grad_batches=len(sizes)).fit(seq2seq(net), datamodule=data)

    assert len(kept.steps) == 1
    assert kept.steps[0].keys() == gradients_of(oracle).keys()
    for name, gradient in gradients_of(oracle).items():
        torch.testing.assert_close(kept.steps[0][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert len({data.tokens(places) / len(places) for places in data.places}) == len(sizes)


def test_the_last_group_of_an_epoch_may_be_shorter(trainer):
    data, net = Data(sizes=[3, 3, 2]), network()
    oracle = copy.deepcopy(net)
    mean_loss(oracle, data.batch(data.places[2]), 0.1).backward()
    kept = KeepGradients()
    model = seq2seq(net, optimizer=sgd(0.0))
    trainer(callbacks=[kept], accumulate_grad_batches=2).fit(model, datamodule=data)
    for name, gradient in gradients_of(oracle).items():
        torch.testing.assert_close(kept.steps[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_two_ranks_of_four_sentences_have_the_gradients_of_eight(monkeypatch):
    """The mean of two ranks' gradients, as DDP takes it, each rank with its own number of tokens."""
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
        torch.testing.assert_close(gradients_of(net)[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


class RankData(Data):
    """Rank r has batch r, and knows the tokens of both."""

    def train_dataloader(self) -> Any:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        everything = self.tokens(torch.arange(len(self.pairs)))
        return loader([self.places[rank]], lambda places: self.batch(places, everything))

    def val_dataloader(self) -> Any:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        return loader([self.places[rank]], self.batch)


class KeepResults(Callback):
    """Has each rank write down what it knows at the end of a validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        found = {"generated": pl_module.generated, "metrics": metrics}
        Path(trainer.default_root_dir, f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def fit_as_one_of_two(folder: str) -> None:
    """What each process of the test below runs."""
    running = quiet_trainer(folder, limit_val_batches=1.0, strategy="ddp", devices=2, callbacks=[KeepResults()])
    running.fit(seq2seq(talkative(), scores=["bleu"]), datamodule=RankData(sizes=[4, 4]))


@pytest.mark.slow
def test_two_processes_train_and_score_as_one(trainer, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[2])
    subprocess.run([*launch, __file__, str(tmp_path)], env={**os.environ, "PYTHONPATH": root}, check=True, timeout=300)
    compare_with_one_process(trainer(limit_val_batches=1.0), tmp_path)


def compare_with_one_process(alone: Trainer, folder: Path) -> None:
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
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


def token_accuracy(net: T5, data: Data) -> float:
    right = scored = 0
    for place in range(len(data.pairs)):
        batch = data.batch(torch.tensor([place]))
        best = net(batch.input_ids, batch.attention_mask, net.shift_right(batch.labels)).argmax(-1)
        right += int((best == batch.labels)[batch.labels != -100].sum())
        scored += int((batch.labels != -100).sum())
    return right / scored


# --- evaluation ----------------------------------------------------------------------------------------------------


def talkative() -> T5:
    """A network whose texts differ in words and length, and greedy ones from those of beams."""
    config = dataclasses.replace(network().config, tie_word_embeddings=False)
    torch.manual_seed(1)
    net = T5(config).eval()
    with torch.no_grad():
        net.lm_head.weight.mul_(2)
    return net


def by_hand(net: T5, data: Data, **search: Any) -> list[str]:
    """Each source alone."""
    texts = []
    for source, _ in data.pairs:
        ids = torch.tensor([data.tokenizer.encode(source).ids])
        sequences, _ = generate(net, ids, torch.ones_like(ids), max_length=13, **search)
        texts.append(" ".join(WORDS[k] for k in sequences[0].tolist() if k > 1))
    return texts


def test_validation_is_greedy_on_its_first_examples_and_test_searches_for_all(trainer):
    data, net = Data(count=12, batch_size=5), talkative()
    model = seq2seq(net, validation_examples=7, num_beams=3, length_penalty=0.5, scores=["bleu", "exact_match"])
    loss, accuracy = mean_loss(net, data.whole()).item(), token_accuracy(net, data)
    greedy = by_hand(net, data)[:7]
    beams = by_hand(net, data, num_beams=3, length_penalty=0.5)
    assert greedy != beams[:7]
    assert len(set(greedy)) > 2

    metrics = trainer(limit_val_batches=1.0).validate(model, datamodule=data, verbose=False)[0]
    assert [text.hypothesis for text in model.generated] == greedy
    assert [text.index for text in model.generated] == list(range(7))
    assert [(text.source, text.references) for text in model.generated] == [(s, (t,)) for s, t in data.pairs[:7]]
    scores = score_texts(greedy, [(target,) for _, target in data.pairs[:7]], ["bleu", "exact_match"])
    expected = {"val/loss": loss, "val/token_accuracy": accuracy, **{f"val/{k}": v for k, v in scores.items()}}
    assert metrics == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert set(model.validation_metrics()) == set(metrics)

    metrics = trainer().test(model, datamodule=data, verbose=False)[0]
    assert [text.hypothesis for text in model.generated] == beams
    scores = score_texts(beams, [(target,) for _, target in data.pairs], ["bleu", "exact_match"])
    assert metrics == pytest.approx(
        {"test/loss": loss, "test/token_accuracy": accuracy, **{f"test/{k}": v for k, v in scores.items()}},
        rel=1e-5,
        abs=1e-6,
    )
    assert model.signature is not None
    assert "tok:13a" in model.signature

    outputs = trainer().predict(model, datamodule=data)
    assert [text for output in outputs for text in output["hypotheses"]] == beams
    assert torch.cat([output["index"] for output in outputs]).tolist() == list(range(12))


def test_no_validation_examples_write_nothing(trainer):
    model = seq2seq(validation_examples=0)
    metrics = trainer(limit_val_batches=1.0).validate(model, datamodule=(data := Data()), verbose=False)[0]
    assert metrics.keys() == set(model.validation_metrics()) == {"val/loss", "val/token_accuracy"}
    assert data.pairs


def test_generated_text_is_there_when_callbacks_look_and_not_after_a_sanity_check(trainer):
    seen = []

    class Look(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
            seen.append((trainer.sanity_checking, [text.index for text in pl_module.generated]))

    model = seq2seq()
    assert model.generated == []
    trainer(callbacks=[Look()], num_sanity_val_steps=1, limit_val_batches=1.0).fit(model, datamodule=Data(count=4))
    assert seen == [(True, []), (False, [0, 1, 2, 3])]


def test_generation_is_by_the_averaged_weights(trainer):
    """With an average that stays at its first step, and rates that ruin the weights at the second."""
    data, net = Data(count=6, batch_size=3), talkative()
    model = seq2seq(net, optimizer=sgd(30.0))
    first = copy.deepcopy(model)
    average = EMA(decay=0.0, update_every_n_steps=1_000_000)
    average.should_update = lambda step_idx=None, epoch_idx=None: step_idx == 0  # type: ignore[method-assign]
    trainer(callbacks=[average], limit_val_batches=1.0, max_epochs=1).fit(model, datamodule=data)
    trainer(max_steps=1).fit(first, datamodule=data)
    assert [text.hypothesis for text in model.generated] == by_hand(first.architecture.eval(), data)


def test_translate_takes_any_texts(trainer):
    data = Data(count=6)
    model = seq2seq(talkative(), num_beams=3)
    with pytest.raises(ValueError, match="tokenizer"):
        model.translate(["a b"])
    trainer().test(model, datamodule=data, verbose=False)
    sources = [source for source, _ in data.pairs]
    beams, greedy = by_hand(model.architecture, data, num_beams=3), by_hand(model.architecture, data)
    assert model.translate([sources[0], " ", "", *sources[1:]]) == [beams[0], "", "", *beams[1:]]
    assert model.translate(sources, num_beams=1) == greedy != beams
    assert model.translate([""]) == [""]
    assert model.translate([]) == []


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_the_tokenizer_travels_in_the_checkpoint(trainer, tmp_path):
    data, model = Data(), seq2seq()
    trained = trainer()
    trained.fit(model, datamodule=data)
    trained.save_checkpoint(tmp_path / "a.ckpt")
    loaded = TextSeq2Seq.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=False, optimizer=sgd())
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.to_str() == data.tokenizer.to_str()
    sources = [source for source, _ in data.pairs]
    assert loaded.translate(sources) == model.translate(sources)

    data.tokenizer = word_tokenizer([*WORDS[:3], *reversed(WORDS[3:])])
    with pytest.raises(ValueError, match=r"a\.ckpt.*--data\.tokenizer"):
        trainer().fit(seq2seq(), datamodule=data, ckpt_path=tmp_path / "a.ckpt", weights_only=False)


class Killed(Exception):
    """The end of a process, as it were."""


class Kill(Callback):
    """Ends it in the middle of an epoch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 5:
            raise Killed


def test_a_run_goes_on_from_mid_epoch_as_if_nothing_had_happened(trainer, tmp_path):
    """Weights, optimizer state and metrics bit for bit, with dropout."""

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


# --- starting from published weights -------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(4)
    shape = {"vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    config = transformers.T5Config(**shape, decoder_start_token_id=0)
    oracle = transformers.T5ForConditionalGeneration(config).eval()
    oracle.save_pretrained(tmp_path / "published")
    return oracle


def test_init_from_starts_from_what_transformers_wrote(trainer, published, tmp_path):
    data = Data()
    model = seq2seq(network(dropout_rate=0.3), optimizer=sgd(0.0), init_from=str(tmp_path / "published"))
    trainer().fit(model, datamodule=data)
    batch = data.whole()
    with torch.no_grad():
        theirs = published(batch.input_ids, batch.attention_mask, labels=batch.labels)
        ours = model.eval()(batch.input_ids, batch.attention_mask, batch.labels)
    torch.testing.assert_close(ours, theirs.logits, rtol=1e-4, atol=1e-4)


def test_init_from_refuses_a_tokenizer_other_than_the_folders(trainer, published, tmp_path):
    data = Data()
    data.tokenizer.save(str(tmp_path / "published" / "tokenizer.json"))
    model = seq2seq(network(), init_from=str(tmp_path / "published"))
    trainer().fit(model, datamodule=data)
    data.tokenizer = word_tokenizer([*WORDS[:3], *reversed(WORDS[3:])])
    with pytest.raises(ValueError, match=r"published: .* is number \d+ there, here \d+; pass --data\.tokenizer"):
        trainer().fit(seq2seq(network(), init_from=str(tmp_path / "published")), datamodule=data)
    (tmp_path / "published" / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        trainer().fit(seq2seq(network(), init_from=str(tmp_path / "published")), datamodule=data)


def test_init_from_names_each_field_that_differs(trainer, published, tmp_path):
    model = seq2seq(network(d_ff=48, num_layers=2), init_from=str(tmp_path / "published"))
    with pytest.raises(ValueError, match=r"published.*d_ff 32 \(not 48\).*num_layers 1 \(not 2\)"):
        trainer().fit(model, datamodule=Data())
    with pytest.raises(FileNotFoundError, match="nowhere"):
        trainer().fit(seq2seq(init_from="nowhere"), datamodule=Data())


@pytest.fixture
def own_checkpoint(trainer, tmp_path: Path) -> Any:
    """As `oneforall fit` writes it: with the config, plain data alone."""
    trained = trainer(max_steps=1)
    trained.fit(model := seq2seq(network(layer_norm_epsilon=1e-3)), datamodule=Data())
    trained.save_checkpoint(tmp_path / "whole.ckpt")
    content = torch.load(tmp_path / "whole.ckpt", weights_only=False)
    del content["hyper_parameters"]
    fields = dataclasses.asdict(model.architecture.config)
    architecture = {"class_path": "T5", "init_args": {"config": fields}}
    content["config"] = {"model": {"class_path": "TextSeq2Seq", "init_args": {"architecture": architecture}}}
    torch.save(content, tmp_path / "own.ckpt")
    return model.architecture


def test_init_from_starts_from_a_checkpoint_of_this_program(trainer, own_checkpoint, tmp_path):
    net = network(layer_norm_epsilon=1e-3, dropout_rate=0.3)
    model = seq2seq(net, optimizer=sgd(0.0), init_from=str(tmp_path / "own.ckpt"))
    assert not torch.equal(net.embedding.weight, own_checkpoint.embedding.weight)
    trainer().fit(model, datamodule=Data())
    for (name, mine), theirs in zip(net.state_dict().items(), own_checkpoint.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_init_from_refuses_a_checkpoint_that_does_not_fit(trainer, own_checkpoint, tmp_path):
    source = str(tmp_path / "own.ckpt")
    with pytest.raises(ValueError, match=r"own\.ckpt.*layer_norm_epsilon 0\.001 \(not 1e-06\)"):
        trainer().fit(seq2seq(init_from=source), datamodule=Data())  # which no weight would tell
    data = Data()
    data.tokenizer = word_tokenizer([*WORDS[:3], *reversed(WORDS[3:])])
    with pytest.raises(ValueError, match=r"own\.ckpt: .* is number \d+ there, here \d+; pass --data\.tokenizer"):
        trainer().fit(seq2seq(network(layer_norm_epsilon=1e-3), init_from=source), datamodule=data)
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "own.ckpt").read_bytes()[:-900])
    for name in ("cut.ckpt", "whole.ckpt"):  # the second holds more than data
        with pytest.raises(ValueError, match=rf"init_from: .*{name} is no whole checkpoint"):
            trainer().fit(seq2seq(init_from=str(tmp_path / name)), datamodule=Data())


def test_init_from_is_not_read_when_a_run_goes_on(trainer, tmp_path):
    """A checkpoint is enough: the folder it once started from may be gone."""
    trained = trainer(max_steps=1)
    trained.fit(model := seq2seq(), datamodule=Data())
    trained.save_checkpoint(tmp_path / "a.ckpt")
    goes_on = seq2seq(network(), init_from="nowhere", optimizer=sgd(0.0))
    trainer(max_epochs=2).fit(goes_on, datamodule=Data(), ckpt_path=tmp_path / "a.ckpt", weights_only=False)
    assert goes_on.optimizers().param_groups[0]["lr"] == 0.1  # the optimizer's state is the checkpoint's
    assert model.state_dict().keys() == goes_on.state_dict().keys()


# --- the compiler --------------------------------------------------------------------------------------------------


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
