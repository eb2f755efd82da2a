"""Where a training goes wrong is known here: at one batch, in one layer, by one hook."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks.non_finite import MOST_SKIPS_OF_A_SCALER, NonFinite, NonFiniteError, not_finite
from callbacks.run.resume_checkpoint import ResumeCheckpoint

NAN = math.nan


class Small(LightningModule):
    """Three layers and a batch norm; `bad` says what goes wrong at which step (from 1): its loss, or a gradient."""

    def __init__(self, bad: dict[int, str] | None = None, value: float = NAN) -> None:
        super().__init__()
        self.architecture = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
        self.bad, self.value = bad or {}, value
        self.done = 0
        # As a faulty backward of the first layer would
        self.architecture[0].weight.register_hook(self._spoil)  # type: ignore[operator]

    def _spoil(self, gradient: Tensor) -> Tensor:
        return gradient * self.value if self.bad.get(self.done) == "gradient" else gradient

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.done += 1
        inputs = batch[0] * NAN if self.bad.get(self.done) == "input" else batch[0]
        loss = self.architecture(inputs).square().mean()
        return loss + self.value if self.bad.get(self.done) == "loss" else loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.architecture(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def batches(count: int = 6) -> DataLoader:
    data = torch.randn(4 * count, 2, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(data), batch_size=4)


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


class Record(Callback):
    """The weights after each batch."""

    def __init__(self) -> None:
        self.after: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.after.append(weights(pl_module))


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("loss", math.inf, r"step 3 \(epoch 1, batch 3\): loss inf, largest gradient in .*not finite in 0 of 6"),
        ("loss", NAN, r"step 3 \(epoch 1, batch 3\): loss nan"),
        ("input", NAN, r"step 3 .*: loss nan, largest gradient in architecture.3 .*norm nan.*not finite in 6 of 6"),
        ("gradient", NAN, r"step 3 .*: loss 0\.\d+, largest gradient in architecture.0 \(weight: norm nan\), .*1 of 6"),
        ("gradient", -math.inf, r"largest gradient in architecture.0 \(weight: norm (inf|nan)\)"),
    ],
)
def test_stops_before_the_step_that_would_spoil_the_weights(make_trainer, what, value, message):
    module, record = Small({3: what}, value), Record()
    with pytest.raises(NonFiniteError, match=message):
        make_trainer(NonFinite(), record).fit(module, batches())
    assert len(record.after) == 2
    assert all(torch.equal(*pair) for pair in zip(module.parameters(), record.after[-1], strict=True))


def test_names_epoch_and_last_batch_of_an_accumulation(make_trainer):
    trainer = make_trainer(NonFinite(), accumulate_grad_batches=2, max_epochs=2)
    with pytest.raises(NonFiniteError, match=r"optimizer step 5 \(epoch 2, batch 4\): loss nan"):
        trainer.fit(Small({9: "loss"}), batches())


def test_without_a_fault_nothing_changes(make_trainer):
    results = []
    for callbacks in ([], [NonFinite()], [NonFinite("skip")]):
        torch.manual_seed(0)
        module = Small()
        make_trainer(*callbacks).fit(module, batches())
        results.append(list(module.state_dict().values()))
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


class Elsewhere(NonFinite):
    """Reads as on an accelerator: every `every_n_steps` steps; counts how often."""

    reads = 0

    def on_before_optimizer_step(self, trainer: Trainer, *args: Any) -> None:
        trainer.strategy.world_size = 2  # type: ignore[attr-defined]  # of which this is the only one to gather from
        super().on_before_optimizer_step(trainer, *args)
        trainer.strategy.world_size = 1  # type: ignore[attr-defined]

    def _first_bad(self, trainer: Trainer) -> str | None:
        self.reads += 1
        return super()._first_bad(trainer)


def test_on_an_accelerator_the_first_bad_step_is_named_later(make_trainer):
    callback, record = Elsewhere(every_n_steps=4), Record()
    with pytest.raises(NonFiniteError, match=r"optimizer step 2 \(epoch 1, batch 2\): loss nan, .* 1 of 6|2 .*6 of 6"):
        make_trainer(callback, record).fit(Small({2: "input"}), batches(9))
    assert callback.reads == 1
    assert len(record.after) == 3  # steps 2 and 3 were taken, and never saved


@pytest.mark.parametrize("moment", ["validation", "epoch", "checkpoint"])
def test_what_is_collected_is_read_before_anything_comes_of_it(make_trainer, tmp_path, moment):
    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            if args[2] == 3:
                trainer.save_checkpoint(tmp_path / "some.ckpt")

    module, validated = Small({2: "input"}), []
    module.validation_step = lambda *args: validated.append(1)
    trainer = make_trainer(
        Elsewhere(),
        *([Save()] if moment == "checkpoint" else []),
        limit_val_batches=1.0 if moment == "validation" else 0,
        num_sanity_val_steps=0,
    )
    with pytest.raises(NonFiniteError, match="optimizer step 2 "):
        trainer.fit(module, batches(), batches(1))
    assert not validated
    assert list(tmp_path.glob("*.ckpt")) == []
    assert module.done == (4 if moment == "checkpoint" else 6)


def test_weights_that_overflow_are_never_saved(make_trainer, tmp_path):
    """Finite gradients and a learning rate that takes the weights beyond float32."""

    class Diverging(Small):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e38)

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self.architecture[3].weight.sum() * 1e3  # type: ignore[operator]

    trainer = make_trainer(NonFinite(), ResumeCheckpoint(), limit_train_batches=1)
    with pytest.raises(NonFiniteError, match=r"the weights architecture.3.weight are not finite"):
        trainer.fit(Diverging(), batches())
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)
    assert last["global_step"] == 0  # of before the first step


def test_last_checkpoint_is_of_before(make_trainer, tmp_path):
    module, record = Small({9: "input"}), Record()
    with pytest.raises(NonFiniteError):
        make_trainer(NonFinite(), record, ResumeCheckpoint(every_n_seconds=0), max_epochs=2).fit(module, batches())
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)
    saved = [state["state_dict"][name] for name, _ in module.named_parameters()]
    # The ninth step failed; the checkpoint before it is of its beginning
    assert state["global_step"] == 8
    assert all(torch.equal(*pair) for pair in zip(saved, record.after[-1], strict=True))


# --- skipping ------------------------------------------------------------------------------------------------------


class Picky(Small):
    """Leaves out step 3 by itself: what `skip` must come to."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor | None:  # type: ignore[override]
        if batch_idx == 2:
            self.done += 1
            return None
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("fault", ["loss", "gradient", "input"])
def test_skip_leaves_weights_state_and_statistics(make_trainer, tmp_path, fault):
    results = []
    for module in (Picky(), Small({3: fault})):
        torch.manual_seed(0)
        for layer in module.architecture:
            getattr(layer, "reset_parameters", lambda: None)()
        callback = NonFinite("skip")
        trainer = make_trainer(callback)
        if isinstance(module, Small) and not isinstance(module, Picky):
            with pytest.warns(UserWarning, match=r"skipped optimizer step 3 \(epoch 1, batch 3\)"):
                trainer.fit(module, batches())
            assert callback.skipped == 1
            assert trainer.callback_metrics["train/skipped_steps"] == 1
        else:
            trainer.fit(module, batches())
        results.append([*module.state_dict().values(), *_adam_state(trainer)])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_skip_with_accumulation_leaves_out_all_batches_of_the_step(make_trainer):
    """The fault is in the first of two: before the second one, the statistics are spoiled already."""

    def trained(bad: dict[int, str], loader: DataLoader) -> list[Tensor]:
        torch.manual_seed(0)
        module, callback = Small(bad), NonFinite("skip")
        trainer = make_trainer(callback, accumulate_grad_batches=2)
        trainer.fit(module, loader)
        assert callback.skipped == len(bad)
        return [*module.state_dict().values(), *_adam_state(trainer)]

    data = torch.cat([batch for (batch,) in batches()])
    others = DataLoader(TensorDataset(torch.cat([data[:8], data[16:]])), batch_size=4)  # without the third and fourth
    found, expected = trained({3: "input"}, batches()), trained({}, others)
    assert all(value.isfinite().all() for value in found)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def _adam_state(trainer: Trainer) -> list[Tensor]:
    return [value for state in trainer.optimizers[0].state_dict()["state"].values() for value in state.values()]


def test_the_count_of_skips_survives_a_resume(make_trainer, tmp_path):
    trainer = make_trainer(NonFinite("skip"))
    with pytest.warns(UserWarning, match="1 of 6 optimizer steps were skipped"):
        trainer.fit(Small({3: "loss"}), batches())
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    resumed = NonFinite("skip")
    make_trainer(resumed, max_epochs=2).fit(Small(), batches(), ckpt_path=str(tmp_path / "some.ckpt"))
    assert resumed.skipped == 1


def test_loss_scaling_may_search_but_not_for_ever(make_trainer, monkeypatch):
    """A scaler halves its scale at an infinite gradient; one that is still infinite then, at any scale, is a fault."""
    scaler = torch.amp.GradScaler("cpu")
    monkeypatch.setattr(NonFinite, "on_before_optimizer_step", _as_with(MixedPrecision("16-mixed", "cpu", scaler)))
    once = NonFinite()
    make_trainer(once).fit(Small({2: "gradient", 4: "gradient"}), batches())
    always = dict.fromkeys(range(2, 99), "gradient")
    with pytest.raises(NonFiniteError, match=f"optimizer step {2 + MOST_SKIPS_OF_A_SCALER} "):
        make_trainer(NonFinite()).fit(Small(always), batches(60))
    with pytest.raises(NonFiniteError, match=r"optimizer step 3 .*loss nan"):
        make_trainer(NonFinite()).fit(Small({3: "loss"}), batches())


def test_loss_scaling_may_skip_any_number_of_scattered_steps(make_trainer, monkeypatch):
    scaler = torch.amp.GradScaler("cpu")
    monkeypatch.setattr(NonFinite, "on_before_optimizer_step", _as_with(MixedPrecision("16-mixed", "cpu", scaler)))
    scattered = dict.fromkeys(range(2, 2 * MOST_SKIPS_OF_A_SCALER + 10, 2), "gradient")
    assert len(scattered) > MOST_SKIPS_OF_A_SCALER
    module = Small(scattered)
    make_trainer(NonFinite()).fit(module, batches(max(scattered)))
    assert module.done == max(scattered)


def test_with_loss_scaling_the_report_has_the_loss_of_the_model(make_trainer):
    class Constant(Small):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * 0 + 0.25

    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    with pytest.raises(NonFiniteError, match=r"optimizer step \d+ .*: loss 0\.25, largest gradient in architecture\.0"):
        make_trainer(NonFinite(), plugins=[plugin]).fit(Constant(dict.fromkeys(range(1, 99), "gradient")), batches(60))


def _as_with(plugin: MixedPrecision) -> Any:
    """Return the hook, called while the trainer has this precision plugin, and after it no gradients as a scaler."""
    original = NonFinite.on_before_optimizer_step

    def hook(self: NonFinite, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer) -> None:
        own = trainer.strategy.precision_plugin
        trainer.strategy._precision_plugin = plugin
        try:
            original(self, trainer, pl_module, optimizer)
        finally:
            trainer.strategy._precision_plugin = own
        if any(not torch.isfinite(torch.as_tensor(parameter.grad)).all() for parameter in pl_module.parameters()):
            optimizer.zero_grad(set_to_none=True)

    return hook


# --- several processes ---------------------------------------------------------------------------------------------


def train_as_one_of_two(folder: str) -> None:
    """What each process of the test below runs: the loss is infinite on the second one alone, the gradient nowhere."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    trainer = Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[NonFinite(every_n_steps=3)],
        default_root_dir=folder,
    )
    try:
        trainer.fit(Small({2: "loss"} if rank == 1 else {}, math.inf), batches(20))
    except NonFiniteError as error:
        (Path(folder) / f"{rank}.txt").write_text(f"{trainer.global_step} {error}")


@pytest.mark.slow
def test_two_processes_stop_together(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[2])
    subprocess.run([*launch, __file__, str(tmp_path)], env={**os.environ, "PYTHONPATH": root}, check=True, timeout=300)
    reports = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    assert reports[0] == reports[1]
    assert reports[0].startswith("2 training stopped at optimizer step 2 (epoch 1, batch 2): loss inf")


# --- weights -------------------------------------------------------------------------------------------------------


def test_which_weights_are_not_finite():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    network.register_buffer("mask", torch.tensor([0.0, -math.inf, math.inf]))  # by design
    network.register_buffer("number", torch.tensor(3))
    assert not_finite(network) == []
    network[0].bias.data[1] = math.inf
    network[1].running_mean[0] = NAN
    assert not_finite(network) == ["0.bias", "1.running_mean"]
    assert not_finite(nn.ReLU()) == []


@pytest.mark.parametrize(("arguments", "message"), [(("halt",), "non_finite.action"), (("stop", 0), "every_n_steps")])
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NonFinite(*arguments)


def test_a_checkpoint_outside_a_training_is_not_our_affair(make_trainer, tmp_path):
    module, trainer = Small(), make_trainer(NonFinite())
    module.architecture[0].bias.data[0] = NAN
    trainer.strategy.connect(module)
    trainer.save_checkpoint(Path(tmp_path) / "some.ckpt")
    assert (tmp_path / "some.ckpt").is_file()


if __name__ == "__main__":
    train_as_one_of_two(sys.argv[1])
