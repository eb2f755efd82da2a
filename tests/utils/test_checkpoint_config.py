"""The part of a checkpoint's config that each command takes: what it needs, and nothing that writes elsewhere."""

from typing import Any

import pytest

from command_line.process import import_packages
from tests.utils.carried_config import COMMANDS, RUN, changed, config
from utils.checkpoint_config import taken_config
from utils.trust import PACKAGES


@pytest.fixture(autouse=True, scope="module")
def _packages() -> None:
    """Only classes of imported modules are found."""
    import_packages(PACKAGES)


def test_what_a_command_does_not_need_is_not_taken() -> None:
    whole = config()
    for path, value in (
        (("name",), "../../.."),
        (("run_dir",), "/etc"),
        (("output",), "/etc/passwd"),
        (("trust_checkpoint",), True),
        (("trainer", "default_root_dir"), "/etc"),
        (("trainer", "profiler"), {"class_path": "SimpleProfiler", "init_args": {"dirpath": "/etc"}}),
        (("trainer", "logger"), [{"class_path": "stranger.Logger"}]),
        (("trainer", "plugins"), RUN),
        (("trainer", "strategy"), {"class_path": "DDPStrategy", "init_args": {"ddp_comm_hook": "os.system"}}),
        (("trainer", "limit_test_batches"), 1),
        (("trainer", "devices"), 8),
    ):
        whole = changed(whole, path, value)
    whole["trainer"]["callbacks"] += [
        {"class_path": "callbacks.predictions.image_predictions.Predictions", "init_args": {"output": "/etc/passwd"}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "/etc"}},
    ]
    for command in COMMANDS:
        taken = taken_config(whole, command, "a.ckpt")
        assert taken.keys() == {"seed_everything", "model", "data", "trainer", "checkpoint"}
        fitting = {"max_epochs"} if command == "fit" else set()
        assert taken["trainer"].keys() == {"callbacks", *fitting}
        names = [each["class_path"].rpartition(".")[2] for each in taken["trainer"]["callbacks"]]
        assert names == ["ConfusionMatrix", "ConfidentMistakes"]
        assert ("optimizer" in taken["model"]["init_args"]) == (command == "fit")


def test_a_fit_takes_what_continues_the_run() -> None:
    whole = config("seq2seq")
    whole["trainer"]["callbacks"] += [
        {"class_path": "EMA", "init_args": {"decay": 0.5}},
        {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}},
        {"class_path": "FreezeBackbone", "init_args": {"until_epoch": 5}},
    ]
    whole["resume_checkpoint"] = {"every_n_seconds": 5.0, "every_n_steps": None}
    fit, test = (taken_config(whole, command, "a.ckpt") for command in ("fit", "test"))
    assert fit["trainer"]["gradient_clip_val"] == 1.0
    assert fit["resume_checkpoint"] == whole["resume_checkpoint"]
    assert fit["checkpoint"] == test["checkpoint"] == whole["checkpoint"]
    assert fit["model"]["init_args"]["optimizer"] == {
        "class_path": "lightning_modules.optim.scaled_adamw.ScaledAdamW",
        "init_args": {"lr": 0.015, "betas": [0.9, 0.98]},
    }
    names = [each["class_path"].rpartition(".")[2] for each in fit["trainer"]["callbacks"]]
    assert names == ["Samples", "AttentionMaps", "EMA", "EarlyStopping", "FreezeBackbone"]
    assert [each["class_path"] for each in test["trainer"]["callbacks"]] == [
        "callbacks.plots.attention_maps.AttentionMaps"
    ]


def test_a_fit_does_not_go_on_without_a_callback_that_it_may_need() -> None:
    whole = changed(config(), ("trainer", "callbacks"), ["callbacks.learning_rate_range.LearningRateRange"])
    with pytest.raises(ValueError, match=r"trainer\.callbacks\[0\] is LearningRateRange, which is not taken.*--config"):
        taken_config(whole, "fit", "a.ckpt")
    assert taken_config(whole, "test", "a.ckpt")["trainer"]["callbacks"] == []


def test_a_run_that_goes_on_in_its_folder_keeps_its_devices() -> None:
    mine = {"accelerator": "cpu", "devices": 2, "num_nodes": 1, "strategy": "ddp"}
    whole = config()
    whole["trainer"] |= mine
    assert mine.items() <= taken_config(whole, "fit", "a", same_run=True)["trainer"].items()
    assert not mine.keys() & taken_config(whole, "fit", "a")["trainer"].keys()
    sharded = changed(whole, ("trainer", "strategy"), {"class_path": "FullySharded"})
    assert taken_config(sharded, "fit", "a", same_run=True)["trainer"]["strategy"]["class_path"].endswith(
        "FullySharded"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accelerator", "os.system"),
        ("devices", "__import__('os')"),
        ("num_nodes", [1]),
        ("strategy", "os.system"),
        ("strategy", {"class_path": "lightning.pytorch.strategies.DDPStrategy"}),
    ],
)
def test_devices_of_a_run_folder_are_plain_values(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"trainer\.{name}"):
        taken_config(changed(config(), ("trainer", name), value), "fit", "a", same_run=True)


def test_callbacks_that_are_not_given_stay_so() -> None:
    whole = changed(config(), ("trainer", "callbacks"), None)
    for command in COMMANDS:
        assert "callbacks" not in taken_config(whole, command, "a.ckpt")["trainer"]


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        (
            {"class_path": "ImageFolderDataModule", "init_args": {"root": "photos", "cache_dir": "/etc"}},
            {"cache_dir": None},
        ),
        ({"class_path": "ImageFolderDataModule", "init_args": {"root": "x", "cache_dir": ".cache/images"}}, {}),
        ({"class_path": "CIFAR10DataModule", "init_args": {"root": "/etc", "download": True}}, {"download": False}),
        ({"class_path": "CIFAR10DataModule", "init_args": {"root": "/etc"}}, {"download": False}),
        ({"class_path": "CIFAR10DataModule", "init_args": {"root": "data", "download": True}}, {}),
    ],
)
def test_data_are_read_where_they_were_and_written_only_to_their_default_place(data, taken) -> None:
    arguments = taken_config(changed(config(), ("data",), data), "test", "a.ckpt")["data"]["init_args"]
    assert arguments == {**data["init_args"], **taken}
