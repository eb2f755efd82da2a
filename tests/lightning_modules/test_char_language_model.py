"""Bits per character against their definition over whole streams; memory, resuming, samples and prompts."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from architectures.char_rnn import CharRNN
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from datamodules.char_text import CharTextDataModule
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.optim.schedules import Constant, WarmupCosine

TEXT = "the cat sat on the mat.\nthat hat is the cat's hat!\n" * 12  # 612 characters


def language_model(dropout: float = 0.0, lr: float = 0.1, vocab_size: int = 30, **arguments: Any) -> CharLanguageModel:
    torch.manual_seed(0)
    network = CharRNN(vocab_size, cell="lstm", hidden_size=8, num_layers=2, dropout=dropout)
    settings = {"sample_length": 12, "validation_samples": 2, "schedule": Constant, "seed": 4, **arguments}
    return CharLanguageModel(network, optimizer=lambda groups: torch.optim.SGD(groups, lr=lr, momentum=0.9), **settings)


@pytest.fixture
def data(tmp_path: Path):
    def make(text: str = TEXT, **arguments: Any) -> CharTextDataModule:
        (tmp_path / "text.txt").write_text(text)
        settings = {"sequence_length": 10, "batch_size": 3, "eval_batch_size": 4, "seed": 1, **arguments}
        return CharTextDataModule(str(tmp_path / "text.txt"), **settings)

    return make


@torch.no_grad()
def mean_bits(model: CharLanguageModel, characters: Tensor, targets: Tensor) -> tuple[float, float]:
    """Bits per character and accuracy over whole streams [B, N], read in one go, where targets are not negative."""
    known = len(model.vocabulary or "")
    log_p = model.architecture.eval()(characters)[0][..., :known].double().log_softmax(2)
    there = targets >= 0
    of_targets = log_p.gather(2, targets.clamp(min=0)[..., None])[..., 0]
    return -of_targets[there].mean().item() / math.log(2), (log_p.argmax(2) == targets)[there].double().mean().item()


# --- metrics -------------------------------------------------------------------------------------------------------


def test_training_metrics_are_those_of_whole_streams(trainer, data):
    """With a learning rate of zero, an epoch's mean is that of its streams read in one go: memory is carried on."""
    model, module = language_model(lr=0.0), data()
    trained = trainer(max_epochs=2, limit_val_batches=0)
    trained.fit(model, datamodule=module)
    trained.fit_loop.epoch_loop.batch_progress.current.ready = 0
    trained.fit_loop.epoch_progress.current.completed = trained.fit_loop.epoch_progress.current.processed = 1
    batches = list(module.train_dataloader())  # those of the last epoch
    assert len(batches) == 18
    whole = [torch.cat(parts, 1) for parts in zip(*batches, strict=True)]
    bits, accuracy = mean_bits(model, *whole)
    assert trained.callback_metrics["train/bits_per_character"] == pytest.approx(bits, rel=1e-5)
    assert trained.callback_metrics["train/accuracy"] == pytest.approx(accuracy, rel=1e-6)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_metrics_are_those_of_whole_streams(trainer, data, stage):
    model, module = language_model(), data(eval_batch_size=1)
    figures = getattr(trainer(), stage)(model, datamodule=module, verbose=False)[0]
    part = {"validate": "val", "test": "test"}[stage]
    text = TEXT[slice(*module.part(part))]
    ids = torch.tensor([[module.vocabulary.index(character) for character in text]])
    bits, accuracy = mean_bits(model, ids[:, :-1], ids[:, 1:])
    assert figures[f"{part}/bits_per_character"] == pytest.approx(bits, rel=1e-5)
    assert figures[f"{part}/accuracy"] == pytest.approx(accuracy, rel=1e-6)


def test_outputs_beyond_the_vocabulary_have_no_probability(trainer, data):
    model, module = language_model(vocab_size=200), data()
    with torch.no_grad():
        model.architecture.output.bias[len(module.vocabulary) :] = 50.0
    figures = trainer().validate(model, datamodule=module, verbose=False)[0]
    assert figures["val/bits_per_character"] < 6  # of 15 characters, at random: 3.9
    generated = model.continue_text("the cat", length=200, temperature=1.0)
    assert set(generated) <= set(module.vocabulary)


def test_validation_metrics_names_what_validation_logs(trainer, data):
    model = language_model()
    logged = trainer().validate(model, datamodule=data(), verbose=False)[0]
    assert set(model.validation_metrics()) == set(logged)


# --- memory --------------------------------------------------------------------------------------------------------


def test_validation_does_not_change_the_training(trainer, data):
    """Weights and memory at the end are the same with and without validations, which generate samples, in between."""
    ends = []
    for validation in ({"limit_val_batches": 0}, {"val_check_interval": 3}):
        model = language_model(dropout=0.3)
        trainer(max_epochs=1, **validation).fit(model, datamodule=data())
        assert model.carried is not None
        ends.append([*model.state_dict().values(), model.carried])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_an_epoch_starts_with_an_empty_memory(data):
    model, module = language_model(), data()
    model.vocabulary = module.vocabulary
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    batch = next(iter(module.train_dataloader()))
    fresh = model.training_step(batch, 0)
    assert not torch.equal(model.training_step(batch, 1), fresh)
    assert torch.equal(model.training_step(batch, 0), fresh)
    assert model.carried is not None
    assert not model.carried.requires_grad


def process(world_size: int, rank: int) -> Any:
    """The trainer of one of several processes, in a fit."""
    return SimpleNamespace(world_size=world_size, global_rank=rank, state=SimpleNamespace(fn="fit"), optimizers=[])


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_process_gets_its_streams_back_from_a_checkpoint(monkeypatch, processes):
    whole = torch.arange(2 * 2 * 6 * 3.0).view(2, 2, 6, 3)
    parts = whole.chunk(processes, 2)
    for rank, part in enumerate(parts):
        saving, resumed = language_model(), language_model()
        saving.vocabulary, saving.carried = "ab", part
        monkeypatch.setattr(saving, "_trainer", process(processes, rank))
        monkeypatch.setattr(saving, "all_gather", lambda mine: torch.stack(parts))
        state = saving.checkpoint_state()
        assert torch.equal(state["carried"], whole)

        monkeypatch.setattr(resumed, "_trainer", process(processes, rank))
        sums = {"nats": [3.0], "correct": [2.0], "characters": [5.0]}
        resumed.on_load_checkpoint({"char_language_model": {**state, "train_sums": sums}})
        assert resumed.vocabulary == "ab"
        assert resumed.carried is not None
        assert torch.equal(resumed.carried, part)


def test_a_training_with_another_number_of_streams_starts_with_an_empty_memory(data):
    model, module = language_model(), data()
    model.vocabulary = module.vocabulary
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    batch = next(iter(module.train_dataloader()))
    fresh = model.training_step(batch, 0)
    model.carried = torch.ones(2, 2, len(batch.characters) + 1, 8)
    assert torch.equal(model.training_step(batch, 1), fresh)


class Snapshots(Callback):
    """Copies the run folder at the end of some batches, counted from 1: what a run killed there would leave."""

    def __init__(self, folder: Path, batches: list[int]) -> None:
        self.folder, self.batches = folder, batches

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        batch = trainer.fit_loop.total_batch_idx + 1
        if batch in self.batches:
            shutil.copytree(self.folder, self.folder.with_name(f"killed-{batch}"))


def test_a_run_resumed_in_mid_epoch_equals_one_that_was_never_interrupted(trainer, data, tmp_path):
    """18 batches per epoch, validation every 5: weights, optimizer, memory, metrics and samples to the last bit."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)

    def train(ckpt_path: Path | None, *more: Callback) -> tuple[dict[str, Any], str, list[Any]]:
        model = language_model(dropout=0.3, schedule=WarmupCosine)
        model.hparams.clear()  # networks and functions, for which the command line has plain values
        if ckpt_path is not None:  # all weights must come from the checkpoint
            for parameter in model.parameters():
                torch.nn.init.zeros_(parameter)
        running = trainer(
            default_root_dir=folder,
            max_epochs=2,
            val_check_interval=5,
            log_every_n_steps=4,
            gradient_clip_val=1.0,
            logger=MetricsCSV(str(folder)),
            callbacks=[ResumeCheckpoint(every_n_seconds=0.0), *more],
        )
        running.fit(model, datamodule=data(), ckpt_path=ckpt_path, weights_only=True)
        ended = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        return ended, (folder / "metrics.csv").read_text(), model.generated

    stops = [4, 10, 13, 21]
    reference, metrics, generated = train(None, Snapshots(folder, stops))
    assert generated
    assert "val/bits_per_character" in metrics
    for stop in stops:
        shutil.rmtree(folder)
        shutil.copytree(folder.with_name(f"killed-{stop}"), folder)
        resumed, their_metrics, their_generated = train(folder / "checkpoints" / "last.ckpt")
        assert their_metrics == metrics, stop
        assert their_generated == generated, stop
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "char_language_model"):
            assert equal(resumed[key], reference[key]), (stop, key)


def equal(one: Any, other: Any) -> bool:
    """Return whether two nests of plain values and tensors are equal to the last bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


# --- samples and prompts -------------------------------------------------------------------------------------------


def test_validation_generates_from_the_first_characters_of_its_streams(trainer, data):
    model, module = language_model(), data()
    trainer().validate(model, datamodule=module, verbose=False)
    validation = TEXT[slice(*module.part("val"))]
    length = math.ceil((len(validation) - 1) / 4)
    assert [sample.index for sample in model.generated] == [0, 1]
    for sample in model.generated:
        begin = sample.index * length
        assert sample.source == validation[begin : begin + len(sample.source)]
        assert sample.source + sample.references[0] == validation[begin : begin + min(10, length)]
        assert len(sample.hypothesis) == 12
        assert set(sample.hypothesis) <= set(module.vocabulary)


def test_predictions_begin_with_their_prompts_and_do_not_depend_on_what_else_is_in_the_file(trainer, data, tmp_path):
    model = language_model()
    prompts = tmp_path / "prompts.txt"
    generated = []
    for lines in ("the\n\ncat sat\n", "hat\n\ncat sat\nmat"):
        prompts.write_text(lines)
        outputs = trainer().predict(model, datamodule=data(predict_path=str(prompts)))
        generated.append({int(output["index"]): output["hypotheses"] for output in outputs})
    assert generated[0].keys() == {0, 2}
    assert generated[1].keys() == {0, 2, 3}
    assert [len(text) for text in generated[0][0] + generated[0][2]] == [3 + 12, 7 + 12]
    assert generated[0][0][0].startswith("the")
    assert generated[0][2][0].startswith("cat sat")
    assert generated[0][2] == generated[1][2]
    again = model.continue_text("cat sat", length=12, temperature=0.8, seed=2)
    assert [again] == generated[0][2]
    assert model.continue_text("cat sat", 12, 0.8, seed=3) != again


def test_a_prompt_with_unknown_characters_or_none_is_refused():
    model = language_model()
    model.vocabulary = "abc"
    with pytest.raises(ValueError, match="prompt has 'xy'"):
        model.continue_text("yax")
    with pytest.raises(ValueError, match="prompt is empty"):
        model.continue_text("")


def test_generation_keeps_the_mode_and_uses_no_dropout():
    model = language_model(dropout=0.5)
    model.vocabulary = "abcdefgh"
    texts = {model.train(mode).continue_text("ab", 30) for mode in (True, False)}
    assert len(texts) == 1
    model.train().continue_text("ab", 1)
    assert model.architecture.training
    with pytest.raises(ValueError, match="no vocabulary before training"):
        language_model().continue_text("ab")


def test_a_temperature_near_zero_generates_the_most_likely_characters():
    model = language_model()
    model.vocabulary = "abcdefgh"
    text = model.continue_text("abc", 10, temperature=1e-4)
    ids = torch.tensor([[model.vocabulary.index(character) for character in text]])
    most_likely = model.eval()(ids)[0].argmax(2)[0]
    assert model.decode(most_likely[2:-1]) == text[3:]


# --- errors --------------------------------------------------------------------------------------------------------


def test_a_text_with_more_characters_than_the_network_is_refused(trainer, data):
    with pytest.raises(ValueError, match=r"15 different characters .* is 14; pass --model.architecture.vocab_size 15"):
        trainer().fit(language_model(vocab_size=14), datamodule=data())


def test_a_training_does_not_resume_on_a_text_with_another_vocabulary(trainer, data, tmp_path):
    first = trainer(max_steps=2, limit_val_batches=0)
    model = language_model()
    model.hparams.clear()
    first.fit(model, datamodule=data())
    first.save_checkpoint(tmp_path / "a.ckpt")
    other = language_model()
    with pytest.raises(ValueError, match="different characters from"):
        trainer().fit(other, datamodule=data(TEXT + "?" * 9), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"sample_length": 0}, "sample_length"),
        ({"validation_samples": -1}, "validation_samples"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        language_model(**arguments)
