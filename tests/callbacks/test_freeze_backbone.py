"""A backbone that is frozen in the first epochs: in runs that are interrupted as in those that are not."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from callbacks.freeze_backbone import FreezeBackbone
from tests.callbacks.run.resumed_run import BATCHES, cut, fit, sgd
from utils.weights import digest_of

FROZEN, EPOCHS = 2, 4
SETTINGS: dict[str, Any] = {"max_epochs": EPOCHS, "optimizer": sgd(0.1, weight_decay=0.1)}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return fit(tmp_path_factory.mktemp("whole"), FreezeBackbone(FROZEN), **SETTINGS)


@pytest.mark.parametrize("before", [3, BATCHES, BATCHES * FROZEN, BATCHES * FROZEN + 2, BATCHES * (FROZEN + 1)])
def test_21901_6891_a_resumed_run_freezes_the_backbone_by_the_epoch(before, uninterrupted, tmp_path):
    cut(tmp_path, before, FreezeBackbone(FROZEN), **SETTINGS)
    resumed = fit(tmp_path, FreezeBackbone(FROZEN), **SETTINGS)
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert digest_of(resumed[part]) == digest_of(uninterrupted[part]), part


class KeepWeights(Callback):
    """Keeps weights and statistics from before each epoch and after the last."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Tensor]] = []
        self.modes: list[bool] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.kept.append({name: each.clone() for name, each in pl_module.state_dict().items()})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.modes.append(pl_module.architecture.body.training)


def test_the_backbone_stays_as_it_was_and_then_all_of_the_network_is_trained(tmp_path):
    keep = KeepWeights()
    fit(tmp_path, FreezeBackbone(FROZEN), keep, **SETTINGS)
    for epoch, (before, after) in enumerate(zip(keep.kept, keep.kept[1:], strict=False)):
        changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
        assert changed == ({"fc"} if epoch < FROZEN else {"fc", "body"})
    assert keep.modes == [False] * BATCHES * FROZEN + [True] * BATCHES * (EPOCHS - FROZEN)


def test_a_run_that_ends_frozen_leaves_a_module_that_can_be_trained():
    module: Any = SimpleNamespace(architecture=(network := nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))))
    network.head = "1"  # type: ignore[assignment]
    network[0].bias.requires_grad_(False)  # by the network itself, as CustomCNN's whitening filters
    for end in ("on_fit_end", "on_exception"):
        callback = FreezeBackbone(3)
        trainer: Any = SimpleNamespace(current_epoch=2, strategy=None)
        callback.on_fit_start(trainer, module)
        callback.on_train_start(trainer, module)
        assert [each.requires_grad for each in network.parameters()] == [False, False, True, True]
        getattr(callback, end)(trainer, module, *([KeyboardInterrupt()] if end == "on_exception" else []))
        assert [each.requires_grad for each in network.parameters()] == [True, False, True, True]
        assert all(each.training for each in network.modules())


def test_a_fit_that_never_began_changes_nothing():
    network = nn.Linear(2, 2)
    FreezeBackbone(3).on_exception(SimpleNamespace(), network, ValueError())  # type: ignore[arg-type]
    assert all(each.requires_grad for each in network.parameters())


@pytest.mark.parametrize(
    ("head", "strategy", "words"),
    [
        (None, None, "Linear does not say which layer that is; remove it from trainer.callbacks"),
        ("1", DDPStrategy(), "--trainer.strategy ddp_find_unused_parameters_true"),
    ],
)
def test_what_cannot_work_is_refused(head, strategy, words):
    network = nn.Linear(2, 2)
    network.head = head
    with pytest.raises(ValueError, match=words):
        FreezeBackbone(1).on_fit_start(SimpleNamespace(strategy=strategy), network)  # type: ignore[arg-type]


def test_all_parameters_used_or_not_may_be_told_to_ddp():
    network = nn.Linear(2, 2)
    network.head = "1"  # type: ignore[assignment]
    strategy = DDPStrategy(find_unused_parameters=True)
    FreezeBackbone(1).on_fit_start(SimpleNamespace(strategy=strategy), network)  # type: ignore[arg-type]


@pytest.mark.parametrize("until_epoch", [0, -1, 1.5])
def test_a_wrong_number_of_epochs_is_named(until_epoch):
    with pytest.raises(ValueError, match=r"FreezeBackbone\.until_epoch"):
        FreezeBackbone(until_epoch)
