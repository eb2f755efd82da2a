"""A run resumed with other settings, against one whose settings are changed by hand, and against formulas."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.muon import Muon
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.optim.schedules import Constant, OneCycle
from tests.callbacks.run.resumed_run import BATCHES, Cut, Noise, PowerCut, Rates, cut, fit, sgd


class ByHand(Callback):
    """Changes the parameter groups, by name, when an optimizer step is about to come."""

    def __init__(self, step: int, groups: dict[str, dict[str, Any]]) -> None:
        self.step, self.groups = step, groups

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            (optimizer,) = trainer.optimizers
            for group in optimizer.param_groups:
                group.update(self.groups[group["name"]])
            (config,) = trainer.lr_scheduler_configs
            config.scheduler.base_lrs = [group["lr"] for group in optimizer.param_groups]


class Unscheduled(ImageClassifier):
    """A module as others write it: an optimizer, no schedule."""

    def configure_optimizers(self) -> Any:
        return self.build_optimizer()


def last_rate(folder: Path) -> float:
    with (folder / "metrics.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["lr"])


def every_group(**values: Any) -> dict[str, dict[str, Any]]:
    """The same values for all groups, but no weight decay for vectors."""
    vectors = {**values, **({"weight_decay": 0.0} if "weight_decay" in values else {})}
    return {"weights": values, "head": values, "vectors": vectors, "head_vectors": vectors}


OPTIMIZERS = {
    "SGD": (
        sgd(0.1, momentum=0.9),
        sgd(0.02, momentum=0.5, weight_decay=0.1),
        every_group(lr=0.02, momentum=0.5, weight_decay=0.1),
    ),
    "SGD without momentum before": (
        sgd(0.1, momentum=0.0),
        sgd(0.1, momentum=0.5, nesterov=True),
        every_group(lr=0.1, momentum=0.5, nesterov=True),
    ),
    "AdamW": (
        lambda groups: torch.optim.AdamW(groups, lr=0.01),
        lambda groups: torch.optim.AdamW(groups, lr=0.003, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.3),
        every_group(lr=0.003, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.3),
    ),
    "ScaledAdamW": (
        lambda groups: ScaledAdamW(groups, lr=0.02),
        lambda groups: ScaledAdamW(groups, lr=0.005, betas=(0.8, 0.9), min_scale=0.1),
        every_group(lr=0.005, betas=(0.8, 0.9), min_scale=0.1),
    ),
    "Muon": (
        lambda groups: Muon(groups, lr=0.1),
        lambda groups: Muon(groups, lr=0.02, momentum=0.3, head_lr=0.5, vector_lr=0.01, sgd_momentum=0.7),
        {
            "weights": {"lr": 0.02, "momentum": 0.3},
            "head": {"lr": 0.5, "momentum": 0.7},
            "vectors": {"lr": 0.01, "momentum": 0.7},
            "head_vectors": {"lr": 0.01, "momentum": 0.7},
        },
    ),
}


@pytest.mark.parametrize(("before", "after", "groups"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("step", [3, BATCHES])
def test_new_settings_are_applied_and_the_state_is_kept(tmp_path, before, after, groups, step):
    """Weights and momenta equal, bit for bit, those of a run whose groups were changed by hand at that step."""
    by_hand = fit(tmp_path / "by hand", ByHand(step, groups), optimizer=before)
    if step == BATCHES:
        fit(tmp_path / "run", optimizer=before, max_epochs=1)
    else:
        cut(tmp_path / "run", step, optimizer=before)
    resumed = fit(tmp_path / "run", optimizer=after)
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in by_hand["state_dict"].items())
    one, other = (each["optimizer_states"][0]["state"] for each in (by_hand, resumed))
    assert all(
        torch.equal(one[k][name], other[k][name]) for k in one for name in one[k] if torch.is_tensor(one[k][name])
    )
    assert last_rate(tmp_path / "run") == pytest.approx(groups["weights"]["lr"], rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda optimizer, total: OneCycle(optimizer, total, peak=0.0), lambda step: 0.2 * (1 - step / 20)),
        (lambda optimizer, total: StepLR(optimizer, 4, gamma=0.5), lambda step: 0.2 * 0.5 ** (step // 4)),
        (
            lambda optimizer, total: CosineAnnealingLR(optimizer, total),
            lambda step: 0.1 * (1 + torch.tensor(torch.pi * step / 20).cos().item()),
        ),
    ],
    ids=["of ours", "by steps", "chained"],
)
@pytest.mark.parametrize("before", [Constant, lambda optimizer, total: StepLR(optimizer, 3, gamma=0.1)])
def test_19774_another_schedule_rate_and_length_are_those_of_the_whole_run(tmp_path, before, schedule, expected):
    """From step 7 on, the learning rates of a run that had the new settings from the beginning: 4 epochs of 5 steps."""
    rates = Rates()
    cut(tmp_path, 7, schedule=before)
    fit(tmp_path, rates, optimizer=sgd(0.2), schedule=schedule, max_epochs=4)
    assert list(rates.at) == list(range(7, 20))
    assert rates.at == pytest.approx({step: expected(step) for step in rates.at}, abs=1e-6)


def test_a_schedule_may_come_and_go(tmp_path):
    for before, after in ((Unscheduled, ImageClassifier), (ImageClassifier, Unscheduled)):
        folder, rates = tmp_path / before.__name__, Rates()

        def falling(optimizer: Any, total: int) -> OneCycle:
            return OneCycle(optimizer, total, peak=0.0)

        cut(folder, 7, kind=before, schedule=falling)
        fit(folder, rates, kind=after, schedule=falling)
        expected = {step: 0.1 * (1 - step / 10 if after is ImageClassifier else 1) for step in range(7, 10)}
        assert rates.at == pytest.approx(expected)


def test_a_rate_without_a_schedule_is_the_new_one(tmp_path):
    rates = Rates()
    cut(tmp_path, 7, kind=Unscheduled)
    fit(tmp_path, rates, kind=Unscheduled, optimizer=sgd(0.03))
    assert set(rates.at.values()) == {0.03}


def test_what_a_callback_has_changed_stays_if_the_config_has_not(tmp_path):
    class Decay(Callback):
        def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
            if trainer.global_step == 2:
                for group in trainer.optimizers[0].param_groups:
                    group["weight_decay"], group["lr"] = 0.25, 0.0625

    def chained(optimizer: Any, total: int) -> StepLR:  # which leaves the rate as it finds it
        return StepLR(optimizer, 100)

    settings: dict[str, Any] = {"optimizer": sgd(0.1, weight_decay=0.5), "schedule": chained}
    with pytest.raises(PowerCut):
        fit(tmp_path, Decay(), Cut(4), **settings)
    saved = fit(tmp_path, **settings, changed=False)
    groups = saved["optimizer_states"][0]["param_groups"]
    assert {(group["weight_decay"], group["lr"]) for group in groups} == {(0.25, 0.0625)}
    changed = fit(tmp_path, **{**settings, "optimizer": sgd(0.1, weight_decay=0.125)}, max_epochs=3)
    groups = changed["optimizer_states"][0]["param_groups"]
    assert {(group["weight_decay"], group["lr"]) for group in groups} == {(0.125, 0.1), (0.25, 0.1)}


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: Noise(labels_seed=1), "as many examples, but different ones"),
        (lambda: Noise(count=48), "40 training examples there and 48 here"),
    ],
)
def test_other_data_are_refused_and_the_folder_stays_as_it_was(tmp_path, data, words):
    cut(tmp_path, 7)
    (tmp_path / "summary.md").write_text("mine")
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0,99,1,1,1\n")  # a row after the checkpoint
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, data=data())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_that_does_not_fit_leaves_the_folder_as_it_was(tmp_path):
    cut(tmp_path, 7)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="groups of parameters"):
        fit(tmp_path, optimizer=lambda groups: torch.optim.SGD(groups[:1], lr=0.1))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
