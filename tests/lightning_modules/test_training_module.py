"""What every LightningModule has from `TrainingModule`, on the smallest one: a network that fits numbers."""

import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

import cli
from architectures.custom_cnn import CustomCNN
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from datamodules.loader import BatchLoader, training_position
from lightning_modules import epoch_sums
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.language_module import LanguageModule
from lightning_modules.optim.muon import Muon
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.optim.schedules import Constant, OneCycle
from lightning_modules.text_seq2seq import TextSeq2Seq
from lightning_modules.training_module import TrainingModule

CONFIGS = Path(__file__).parents[2] / "configs"
NUMBERS = torch.randn(17, 3, generator=torch.Generator().manual_seed(0))


def sgd(lr: float = 0.1, **arguments: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda groups: torch.optim.SGD(groups, lr=lr, **arguments)


class Fit(TrainingModule):
    """Learns the sum of three numbers, and records what it is asked to do."""

    unit = "numbers"
    sums = ("loss", "examples")
    state_key = "fit"

    def __init__(self, dropout: float = 0.0, **training: Any) -> None:
        super().__init__(**{"optimizer": sgd(), "schedule": Constant, **training})
        torch.manual_seed(0)
        self.architecture = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        self.asked: list[str] = []

    def validation_metrics(self) -> list[str]:
        return []

    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        return {"loss": totals["loss"] / max(1.0, totals["examples"])}

    def loss(self, numbers: Tensor) -> Tensor:
        return (self.architecture(numbers)[:, 0] - numbers.sum(1)).square().mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.train_sums.add(loss.double() * len(batch), len(batch))
        return loss

    def initialize_weights(self) -> None:
        self.asked.append("initialize_weights")

    def check_resumed_data(self) -> None:
        self.asked.append("check_resumed_data")

    def checkpoint_state(self) -> dict[str, Any]:
        return {"answer": 42}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        self.asked.append(f"load {state['answer']}")


def loader(running: Trainer, size: int = 4) -> BatchLoader[Tensor]:
    """Batches of `size` numbers, the last one smaller; they start where the trainer stands."""
    places = torch.arange(len(NUMBERS)).split(size)
    return BatchLoader(
        lambda epoch: places, lambda rows, epoch, step: NUMBERS[rows], lambda: training_position(running)
    )


def fit(running: Trainer, model: Fit, **arguments: Any) -> Fit:
    running.fit(model, loader(running), **arguments)
    return model


# --- training ------------------------------------------------------------------------------------------------------


def test_an_epochs_metrics_give_every_example_the_same_weight(trainer):
    running, model = trainer(), Fit(optimizer=sgd(lr=0.0))
    expected = model.loss(NUMBERS).item()  # not the mean over batches of 4, 4, 4, 4 and 1
    fit(running, model)
    assert running.callback_metrics["train/loss"] == pytest.approx(expected, rel=1e-6)
    assert model.train_sums.total() == {"loss": 0.0, "examples": 0.0}  # the next epoch starts from zero


def test_an_interrupted_fit_leaves_nothing_to_the_next_one(trainer):
    fresh, again = trainer(), trainer()
    fit(fresh, Fit())
    model = Fit()
    model.train_sums.add(100.0, 1000)
    fit(again, model)
    assert again.callback_metrics == fresh.callback_metrics


def test_1476_the_schedule_counts_the_optimizer_steps_of_the_whole_run(trainer):
    """Two epochs of five batches, two batches per optimizer step: three steps per epoch."""
    rates: list[float] = []

    class KeepRates(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    running = trainer(max_epochs=2, accumulate_grad_batches=2, callbacks=[KeepRates()])
    fit(running, Fit(optimizer=sgd(lr=0.6), schedule=lambda of, steps: OneCycle(of, steps, peak=0.0)))
    assert rates == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert running.callback_metrics["lr"] == pytest.approx(0.0, abs=1e-9)  # after the last step


@pytest.mark.parametrize("length", [{"max_epochs": -1}, {"max_epochs": -1, "max_steps": -1}])
def test_a_run_without_an_end_is_refused(trainer, length):
    with pytest.raises(ValueError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        fit(trainer(**length), Fit())


def test_weight_decay_reaches_matrices_only(trainer):
    """With a loss that does not depend on the weights, decay is all that changes them."""

    class Still(Fit):
        def loss(self, numbers: Tensor) -> Tensor:
            return 0 * super().loss(numbers)

    model = Still(optimizer=sgd(lr=0.5, weight_decay=0.1))
    nn.init.ones_(model.get_parameter("architecture.0.bias"))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    fit(trainer(max_steps=1), model)
    for name, parameter in model.named_parameters():
        expected = before[name] * (0.95 if name.endswith("weight") else 1.0)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=0)


def test_a_new_training_initializes_and_a_resumed_one_checks_the_data(trainer, tmp_path):
    running = trainer(max_steps=2)
    assert fit(running, Fit()).asked == ["initialize_weights"]
    running.save_checkpoint(tmp_path / "a.ckpt")
    resumed = fit(trainer(max_steps=4), Fit(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert resumed.asked == ["load 42", "check_resumed_data"]


# --- random numbers ------------------------------------------------------------------------------------------------


def drawn_numbers(running: Trainer, seed: int = 0, rank: int = 0, disturbed: bool = False) -> list[float]:
    """What each training step gets first from torch's global generator."""
    drawn: list[float] = []

    class Drawing(Fit):
        @property
        def global_rank(self) -> int:
            return rank

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            drawn.append(torch.rand((), dtype=torch.float64).item())
            if disturbed:
                torch.rand(batch_idx + 1)
            return super().training_step(batch, batch_idx)

    fit(running, Drawing(seed=seed))
    return drawn


def test_each_step_draws_by_seed_epoch_step_and_rank_and_by_nothing_else(trainer):
    first = drawn_numbers(trainer(max_epochs=2))
    assert len(first) == 10
    assert drawn_numbers(trainer(max_epochs=2), disturbed=True) == first
    others = [drawn_numbers(trainer(max_epochs=2), seed=1), drawn_numbers(trainer(max_epochs=2), rank=1)]
    assert len({*first, *others[0], *others[1]}) == 30


# --- checkpoints ---------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the end of a process."""


class Kill(Callback):
    """Stops in the middle of the second epoch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 8:
            raise Killed


def test_a_run_resumed_in_mid_epoch_equals_one_that_was_never_interrupted(trainer, tmp_path):
    """Weights, momentum and the metrics of the interrupted epoch to the last bit, with dropout."""
    last = tmp_path / "checkpoints" / "last.ckpt"

    def run(*more: Callback, ckpt_path: Path | None = None) -> tuple[Fit, Trainer]:
        saver = ResumeCheckpoint(every_n_seconds=1e9, every_n_steps=1)
        running = trainer(max_epochs=2, callbacks=[saver, *more])
        model = Fit(dropout=0.4, optimizer=sgd(momentum=0.9), schedule=OneCycle, seed=3)
        with contextlib.suppress(Killed):
            fit(running, model, ckpt_path=ckpt_path, weights_only=True)
        return model, running

    whole, reference = run()
    last.unlink()
    run(Kill())
    assert torch.load(last, weights_only=True)["fit"]["train_sums"]["examples"] == [12]
    resumed, other = run(ckpt_path=last)
    assert other.global_step == reference.global_step == 10
    for mine, theirs in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    momenta = [list(each.optimizers[0].state_dict()["state"].values()) for each in (reference, other)]
    for mine, theirs in zip(*momenta, strict=True):
        assert torch.equal(mine["momentum_buffer"], theirs["momentum_buffer"])
    assert reference.callback_metrics == other.callback_metrics


def test_an_interrupted_epoch_is_counted_once_by_any_number_of_processes(trainer, monkeypatch):
    """Of two processes with 20 examples each, the checkpoint holds 40; two that resume from it hold 40, not 80."""
    model, saving = Fit(), trainer()
    monkeypatch.setattr(epoch_sums, "gather_parts", lambda mine: [mine, mine])
    model.trainer = saving
    model.train_sums.add(3.0, 20)
    saved: dict[str, Any] = {"state_dict": {}}
    for _ in range(2):  # saving does not change what is saved
        model.on_save_checkpoint(saved)
    assert saved["fit"] == {"answer": 42, "train_sums": {"loss": [6.0], "examples": [40.0]}}
    monkeypatch.undo()
    totals = []
    for rank in (0, 1):
        resumed, fitting = Fit(), trainer()
        fitting.state.fn, fitting.strategy.global_rank = TrainerFn.FITTING, rank
        resumed.trainer = fitting
        resumed.on_load_checkpoint(saved)
        totals.append(resumed.train_sums.total())
    assert totals == [{"loss": 6.0, "examples": 40.0}, {"loss": 0.0, "examples": 0.0}]


def test_only_a_resumed_training_continues_the_sums(trainer):
    checkpoint = {"fit": {"answer": 42, "train_sums": {"loss": [6.0], "examples": [40.0]}}}
    testing = trainer()
    testing.state.fn = TrainerFn.TESTING
    for running in (testing, None):  # the latter as in load_from_checkpoint
        model = Fit()
        model._trainer = running
        model.on_load_checkpoint(checkpoint)
        assert model.train_sums.total() == {"loss": 0.0, "examples": 0.0}
        assert model.asked == ["load 42"]


# --- the three modules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "optimizer", "config", "flags"),
    [
        (ImageClassifier, Muon, "quickstart/images.yaml", ["--model.architecture.widths=[8,8,8]"]),
        (
            TextSeq2Seq,
            ScaledAdamW,
            "quickstart/seq2seq.yaml",
            ["--data.task.num_train=64", "--data.task.num_val=4", "--data.task.num_test=4"],
        ),
        (
            CharLanguageModel,
            torch.optim.AdamW,
            "char_rnn.yaml",
            ["--data.path=text.txt", "--data.batch_size=2", "--data.eval_batch_size=2"],
        ),
    ],
)
def test_a_checkpoint_of_the_command_line_loads_as_data_and_needs_nothing_else(
    module, optimizer, config, flags, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("the cat sat on the mat.\n" * 200)
    arguments = ["fit", "--config", str(CONFIGS / config), *flags, "--run_dir=run"]
    arguments += ["--seed_everything=7", "--trainer.max_steps=2", "--trainer.callbacks=[]"]
    monkeypatch.setattr("sys.argv", ["oneforall", *arguments])
    cli.main(arguments)
    path = Path("run/checkpoints/last.ckpt")

    saved = torch.load(path, weights_only=True)
    assert "train_sums" in saved[module.state_key]
    loaded = module.load_from_checkpoint(path, weights_only=True)
    assert type(loaded) is module
    assert loaded.seed == 7
    assert type(loaded.build_optimizer()) is optimizer
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, saved["state_dict"][name]), name


@pytest.mark.parametrize("module", [ImageClassifier, TextSeq2Seq, CharLanguageModel])
def test_the_help_of_a_module_documents_the_arguments_of_its_base_class(module):
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(module, "model")
    shown = " ".join(parser.format_help().split())
    for name, text in (
        ("optimizer", "Any torch optimizer"),
        ("schedule", "A schedule of `lightning_modules.optim.schedules`"),
        ("seed", "Seed of dropout"),
    ):
        assert f"--model.{name} {name.upper()} {text}" in shown


@pytest.mark.parametrize("base", [TrainingModule, LanguageModule])
def test_the_base_classes_are_no_choice_of_a_config(base):
    assert inspect.isabstract(base)


def test_21724_validation_has_the_running_statistics_of_the_first_process(monkeypatch):
    """Batch norms of other processes have seen other images, and a checkpoint holds those of the first one."""
    copied: list[list[Tensor]] = []
    monkeypatch.setattr(
        "lightning_modules.training_module.copy_from_first", lambda tensors: copied.append(list(tensors))
    )
    module = ImageClassifier(CustomCNN(widths=[4, 4, 4]))
    TrainingModule.on_validation_start(module)
    assert [id(each) for each in copied[0]] == [id(each) for each in module.architecture.buffers()] != []
