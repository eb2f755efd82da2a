"""A run resumed with other settings, against one whose settings are changed by hand, and against formulas."""

import csv
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from architectures.base import ImageClassifierNet
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.resume_checkpoint import ResumeCheckpoint
from callbacks.run.resumed_settings import ResumedSettings
from callbacks.run.run_folder import RunFolder
from callbacks.run.summary import Summary
from datamodules.images.base import ImageDataModule
from datamodules.images.image_set import ImageSet
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.optim.muon import Muon
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.optim.scaled_muon import ScaledMuon
from lightning_modules.optim.schedules import Constant, OneCycle
from utils.batches import ImageBatch, RawImageBatch
from utils.interruption import Interrupted, signals_raise
from utils.resume_position import PLAN_KEY, batch_plan, goes_on_within_epoch

IMAGES, CLASSES, BATCHES = 40, 10, 5  # batches of 8 in an epoch


class TinyNet(ImageClassifierNet):
    head = "fc"

    def __init__(self) -> None:
        super().__init__(CLASSES)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3))
        self.fc = nn.Linear(6 * 16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(images).flatten(1))


class Noise(ImageDataModule):
    """Random images, which notes the examples of each training batch."""

    def __init__(self, batch_size: int = 8, labels_seed: int = 0, count: int = IMAGES) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=8, seed=1)
        self.class_names = [str(k) for k in range(CLASSES)]
        self.mean = self.std = (0.5, 0.5, 0.5)
        self.labels_seed, self.count = labels_seed, count
        self.seen: list[list[int]] = []

    def load_training(self) -> tuple[ImageSet, ImageSet]:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (self.count + 8, 3, 32, 32), generator=generator, dtype=torch.uint8)
        generator.manual_seed(self.labels_seed)
        labels = torch.randint(0, CLASSES, (self.count + 8,), generator=generator)
        return ImageSet(images[:-8], labels[:-8]), ImageSet(images[-8:], labels[-8:])

    def load_test(self) -> ImageSet:
        raise NotImplementedError

    def augment(self, batch: RawImageBatch) -> ImageBatch:
        self.seen.append(batch.positions.tolist())
        return super().augment(batch)


class PowerCut(BaseException):
    pass


class Cut(Callback):
    """Ends the run before a batch of it (counted from 0)."""

    def __init__(self, before: int) -> None:
        self.before = before

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.before:
            raise PowerCut


class Rates(Callback):
    """Notes the learning rate of the first group at each optimizer step."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        self.at[trainer.global_step] = optimizer.param_groups[0]["lr"]


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


def sgd(lr: float = 0.1, **options: Any) -> Any:
    return lambda groups: torch.optim.SGD(groups, lr=lr, **{"momentum": 0.9, **options})


class Unscheduled(ImageClassifier):
    """A module as others write it: an optimizer, no schedule."""

    def configure_optimizers(self) -> Any:
        return self.build_optimizer()


def fit(
    folder: Path,
    *more: Callback,
    optimizer: Any = None,
    schedule: Any = Constant,
    data: ImageDataModule | None = None,
    changed: bool = True,
    kind: type[ImageClassifier] = ImageClassifier,
    **trainer: Any,
) -> dict[str, Any]:
    """Trains, from `last.ckpt` if there is one; returns the content of `last.ckpt` at the end."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    torch.manual_seed(0)
    module = kind(TinyNet(), optimizer=optimizer or sgd(), schedule=schedule, seed=5)
    module.hparams.clear()
    callbacks = [RunFolder({}), ResumedSettings(changed), Summary(), ResumeCheckpoint(every_n_seconds=0.0), *more]
    Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=callbacks,
        logger=MetricsCSV(str(folder)),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **{"max_epochs": 2, **trainer},
    ).fit(module, datamodule=data or Noise(), ckpt_path=str(last) if last.exists() else None, weights_only=True)
    return torch.load(last, weights_only=True)


def cut(folder: Path, before: int, *more: Callback, **settings: Any) -> None:
    with pytest.raises(PowerCut):
        fit(folder, *more, Cut(before), **settings)


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
    "ScaledMuon": (
        lambda groups: ScaledMuon(groups, lr=0.02),
        lambda groups: ScaledMuon(groups, lr=0.005, betas=(0.8, 0.9), momentum=0.5),
        every_group(lr=0.005, betas=(0.8, 0.9), momentum=0.5),
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


# --- the batches of an epoch ---------------------------------------------------------------------------------------


def examples(data: Noise) -> list[int]:
    return [position for batch in data.seen for position in batch]


def test_an_epoch_whose_batch_size_has_changed_begins_again(tmp_path, caplog):
    """Nothing is left out: two whole epochs follow, and the schedule ends with the last step."""
    cut(tmp_path, 3)
    data, rates = Noise(batch_size=4), Rates()
    with caplog.at_level("INFO"):
        fit(tmp_path, rates, data=data, schedule=lambda optimizer, total: OneCycle(optimizer, total, peak=0.0))
    assert "epoch 0 begins again, and the data of the 3 batches that it was trained on are repeated" in caplog.text
    assert sorted(examples(data)) == sorted([*range(IMAGES), *range(IMAGES)])
    assert {len(batch) for batch in data.seen} == {4}
    assert rates.at == pytest.approx({step: 0.1 * (1 - step / 23) for step in range(3, 23)})
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(
        float(row["train/accuracy"]) * IMAGES == pytest.approx(round(float(row["train/accuracy"]) * 40)) for row in rows
    )


def test_between_two_epochs_another_batch_size_needs_no_repetition(tmp_path, caplog):
    fit(tmp_path, max_epochs=1)
    data = Noise(batch_size=20)
    with caplog.at_level("INFO"):
        fit(tmp_path, data=data)
    assert "begins again" not in caplog.text
    assert sorted(examples(data)) == list(range(IMAGES))
    assert len(data.seen) == 2


def test_the_same_batches_go_on_within_the_epoch(tmp_path, caplog):
    """An unchanged run, and one that accumulates from the next batch on, train on what is left of the epoch."""
    for accumulate in (1, 2):
        folder = tmp_path / str(accumulate)
        cut(folder, 2)
        data = Noise()
        with caplog.at_level("INFO"):
            fit(folder, data=data, max_epochs=1, accumulate_grad_batches=accumulate)
        assert len(data.seen) == 3
        assert "begins again" not in caplog.text
    cut(tmp_path / "odd", 3)
    data = Noise()
    fit(tmp_path / "odd", data=data, max_epochs=1, accumulate_grad_batches=2)
    assert len(data.seen) == BATCHES  # a group of two would have lacked its first batch


class CutInValidation(Callback):
    """Asks the run to stop in its n-th validation (counted from 1)."""

    def __init__(self, number: int) -> None:
        self.left = number

    def on_validation_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self.left -= not trainer.sanity_checking
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [1, 2])
def test_an_epoch_that_lacked_only_its_validation_is_validated_although_the_batches_have_changed(tmp_path, number):
    """No row of metrics is missing, and no batch is repeated."""
    with signals_raise(), pytest.raises(Interrupted):
        fit(tmp_path, CutInValidation(number))
    data = Noise(batch_size=4)
    fit(tmp_path, data=data)
    assert sorted(examples(data)) == sorted([*range(IMAGES)] * (2 - number))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(row["val/loss"] and row["train/loss"] for row in rows)


def test_a_limit_may_be_lifted_in_mid_epoch(tmp_path):
    cut(tmp_path, 2, limit_train_batches=3)
    data = Noise()
    fit(tmp_path, data=data, max_epochs=1)
    assert len(data.seen) == BATCHES - 2
    fewer = tmp_path / "fewer"
    cut(fewer, 4)
    data = Noise()
    fit(fewer, data=data, max_epochs=1, limit_train_batches=2)
    assert len(data.seen) == 2  # the epoch, as it is now, from its beginning


def test_a_run_that_ends_by_steps_notices_other_batches_too(tmp_path):
    ending = {"max_epochs": -1, "max_steps": 12}
    cut(tmp_path, 3, **ending)
    data = Noise(batch_size=4)
    fit(tmp_path, data=data, **ending)
    assert sorted(examples(data)[:IMAGES]) != list(range(IMAGES))  # nine steps of four
    assert len(data.seen) == 9
    assert len(set(examples(data))) == 36


@pytest.mark.parametrize("what", ["world_size", "digest"])
def test_another_number_of_processes_or_other_batches_begin_the_epoch_again(what):
    trainer: Any = SimpleNamespace(
        world_size=2,
        num_training_batches=5,
        accumulate_grad_batches=1,
        train_dataloader=Noise().train_dataloader(),
        strategy=SimpleNamespace(broadcast=lambda value: value),
    )
    counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    done = dict.fromkeys(counts, 2)
    fit_loop = {
        "epoch_progress": {"total": dict(counts), "current": dict(counts)},
        "epoch_loop.batch_progress": {"total": dict(done), "current": dict(done)},
    }
    checkpoint = {"loops": {"fit_loop": fit_loop}, "global_step": 2, PLAN_KEY: batch_plan(trainer)}
    assert goes_on_within_epoch(trainer, checkpoint)
    checkpoint[PLAN_KEY] = {**batch_plan(trainer), what: 4}
    assert not goes_on_within_epoch(trainer, checkpoint)
    del checkpoint[PLAN_KEY]  # of an earlier version
    assert goes_on_within_epoch(trainer, checkpoint)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: Noise(labels_seed=1), "as many examples, but others"),
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
