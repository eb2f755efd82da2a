"""The learning-rate range test finds the steepest fall of a known curve, and runs from the command line."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from callbacks.learning_rate_range import LearningRateRange, advice, draw, rates_in, smoothed, steepest

FACTORS = [10 ** (-3 + 5 * step / 99) for step in range(100)]


def curve(fall: float, explosion: float = 100.0) -> list[float]:
    """A loss that falls from 2 to 0.2 around one factor, and explodes at another."""
    return [2 - 1.8 / (1 + math.exp(-6 * (math.log10(x) - math.log10(fall)))) + (x / explosion) ** 4 for x in FACTORS]


@pytest.mark.parametrize("fall", [0.03, 0.3, 1.0])
def test_the_steepest_fall_is_found(fall: float) -> None:
    found = steepest(FACTORS, curve(fall))
    assert found is not None
    assert abs(math.log10(found / fall)) < 0.5  # smoothing moves it a little to the right
    assert found >= fall


def test_the_fall_after_an_explosion_does_not_count() -> None:
    losses = [*curve(0.1)[:80], 50.0, *(10.0 - n for n in range(9))]
    found = steepest(FACTORS[:90], losses)
    assert found is not None
    assert 0.05 < found < 0.5


@pytest.mark.parametrize("losses", [[], [1.0], [1.0] * 100, [1.0 + n for n in range(100)]])
def test_a_loss_that_does_not_fall_has_none(losses: list[float]) -> None:
    assert steepest(FACTORS[: len(losses)], losses) is None
    assert advice(None, {"lr": 1.0}).startswith("learning-rate range test: the loss does not fall; ")


class Stepping:
    """A trainer with one optimizer, whose rates rise by one factor, and whose loss is that of each of several batches.

    A group of parameters that are frozen has a rate of 0.
    """

    def __init__(self, batches_per_step: int, rate: float = 0.1) -> None:
        self.batches_per_step = batches_per_step
        self.should_stop = False
        self.optimizers = [SimpleNamespace(param_groups=[{"lr": 0.0, "initial_lr": 0.0}, {"initial_lr": rate}])]
        self.strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)

    def run(self, callback: LearningRateRange, losses: list[float]) -> None:
        module = SimpleNamespace(latest={})
        for batch, loss in enumerate(loss for loss in losses for _ in range(self.batches_per_step)):
            group = self.optimizers[0].param_groups[1]
            group["lr"] = group["initial_lr"] * FACTORS[batch // self.batches_per_step]
            callback.on_train_batch_start(self, module, None, batch)  # type: ignore[arg-type]
            noise = 0.1 * (-1) ** batch if self.batches_per_step > 1 else 0.0
            module.latest = {"train/loss": torch.tensor(loss + noise, dtype=torch.float64)}
            callback.on_train_batch_end(self, module, None, None, batch)  # type: ignore[arg-type]


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_the_batches_of_one_step_are_one_point(batches: int) -> None:
    callback = LearningRateRange(stop_at=1e9)
    Stepping(batches).run(callback, curve(0.3))
    assert callback.factors == pytest.approx(FACTORS)
    assert callback.losses == pytest.approx(curve(0.3))
    assert steepest(callback.factors, callback.losses) == pytest.approx(steepest(FACTORS, curve(0.3)))


def test_the_loss_may_be_in_bits() -> None:
    callback, stepping = LearningRateRange(), Stepping(1)
    callback._factor = 1.0
    module = SimpleNamespace(latest={"train/bits_per_character": torch.tensor(3.5)})
    callback.on_train_batch_end(stepping, module, None, None, 0)  # type: ignore[arg-type]
    assert callback.losses == [3.5]


def test_rates_that_are_all_0_cannot_be_raised() -> None:
    with pytest.raises(ValueError, match=r"all are 0: pass --model\.optimizer\.lr above 0"):
        Stepping(1, rate=0.0).run(LearningRateRange(), curve(0.3))


def test_smoothing_has_no_bias_at_the_beginning() -> None:
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0] * 3)
    assert smoothed([2.0, 4.0]) == pytest.approx([2.0, (0.9 * 0.2 + 0.4) / 0.19])


def test_all_rates_of_an_optimizer_are_scaled() -> None:
    optimizer = {"class_path": "Muon", "init_args": {"lr": 0.1, "head_lr": 20.0, "momentum": 0.6, "vector_lr": 2}}
    rates = rates_in({"model": {"init_args": {"optimizer": optimizer}}})
    assert rates == {"lr": 0.1, "head_lr": 20.0, "vector_lr": 2.0}
    assert advice(0.5, rates).endswith(
        "at 0.5 times the configured rate: --model.optimizer.lr 0.05 --model.optimizer.head_lr 10 "
        "--model.optimizer.vector_lr 1"
    )
    assert rates_in({}) == rates_in({"model": {"init_args": {"optimizer": None}}}) == {}


def test_the_figure_has_both_curves_and_the_suggestion() -> None:
    (axes,) = draw(FACTORS, curve(0.1), 0.1, 0.02).axes
    assert axes.get_xscale() == "log"
    assert len(axes.lines) == 3
    assert np.asarray(axes.lines[2].get_xdata()) == pytest.approx([0.002, 0.002])


SMALL = ["--model.architecture.widths", "[4,4,4]", "--trainer.max_steps", "12", "--trainer.callbacks", "[]"]


@pytest.mark.parametrize(
    "optimizer",
    [
        [],  # Muon with three rates
        ["--model.optimizer", "ScaledAdamW", "--model.optimizer.lr", "0.01"],
        ["--model.optimizer", "torch.optim.Adafactor", "--model.optimizer.lr", "0.01"],
        ["--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1"],
    ],
    ids=["muon", "scaled_adamw", "adafactor", "sgd"],
)
def test_it_runs_with_every_optimizer(oneforall, optimizer: list[str]) -> None:
    args = ["fit", "--config", "quickstart/images.yaml", *SMALL, *optimizer, "--config", "sweeps/lr_range.yaml"]
    outcome = oneforall(*args, "--trainer.max_steps", "12", "--run_dir", "run")
    assert outcome.code == 0, outcome.err
    assert Path("run/lr-finder.png").stat().st_size > 1000
    said = outcome.out + outcome.err
    assert "learning-rate range test: " in said
    assert not Path("run/checkpoints/best.ckpt").exists()


def test_it_cannot_resume(oneforall) -> None:
    args = ["fit", "--config", "quickstart/images.yaml", *SMALL, "--config", "sweeps/lr_range.yaml"]
    assert oneforall(*args, "--trainer.max_steps", "12", "--run_dir", "run").code == 0
    outcome = oneforall(*args, "--trainer.max_steps", "20", "--run_dir", "run", "--resume")
    assert outcome.code == 2
    assert "a learning-rate range test cannot resume" in outcome.last_line
