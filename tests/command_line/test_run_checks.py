"""Settings that cannot work are refused before training, each with what to give instead."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, EarlyStopping, LearningRateFinder

from architectures.char_rnn import CharRNN
from command_line.run_checks import check_callbacks, check_data_fits_model, check_devices, check_trainer_settings
from datamodules.char_text import CharTextDataModule
from datamodules.digits import DigitsDataModule
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.optim.schedules import Constant


def settings(**changes: Any) -> SimpleNamespace:
    """The `trainer` section of a config."""
    defaults: dict[str, Any] = {
        "default_root_dir": None,
        "precision": "32-true",
        "accelerator": "auto",
        "devices": "auto",
    }
    defaults |= {"enable_checkpointing": None, "sync_batchnorm": False, "check_val_every_n_epoch": 1}
    return SimpleNamespace(**{**defaults, **changes})


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has torch find some GPUs."""

    def found(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"default_root_dir": "x"}, r"default_root_dir is x, .*--run_dir DIR"),
        ({"sync_batchnorm": True, "accelerator": "cpu"}, r"sync_batchnorm is true.*--trainer\.sync_batchnorm false"),
        ({"precision": "bf16-true"}, r"bf16-true.*--trainer\.precision bf16-mixed"),
        ({"enable_checkpointing": False}, r"enable_checkpointing is false.*BestCheckpoint.*remove the setting"),
        ({"devices": "abc"}, r"trainer\.devices must be a number"),
        ({"check_val_every_n_epoch": 0}, r"check_val_every_n_epoch is 0, .*--trainer\.limit_val_batches 0"),
        ({"precision": "16-true"}, r"16-true.*--trainer\.precision 16-mixed"),
    ],
)
def test_settings_with_a_better_one_are_refused(changes: dict[str, Any], message: str) -> None:
    check_trainer_settings(settings())
    with pytest.raises(ValueError, match=message):
        check_trainer_settings(settings(**changes))


def test_trainer_settings_are_a_section(gpus: Any) -> None:
    with pytest.raises(ValueError, match="trainer is 3, but must have settings below it"):
        check_trainer_settings(3)
    gpus(2)
    for devices in ("auto", 1, -1, "2", [0, 1], "0,1", "0,", "[0, 1]"):
        check_trainer_settings(settings(devices=devices))


def test_numbered_devices_of_a_cpu_are_refused(gpus: Any) -> None:
    gpus(0)
    for accelerator in ("cpu", "auto"):
        good: list[Any] = ["auto", 1, "2"]
        for devices in good:
            check_devices(accelerator, devices)
            Trainer(accelerator=accelerator, devices=devices, logger=False)
        numbered: list[Any] = [[0], "0,1", -1, "-1"]
        for devices in numbered:
            with pytest.raises((TypeError, MisconfigurationException)):  # which end in a traceback
                Trainer(accelerator=accelerator, devices=devices, logger=False)
            with pytest.raises(ValueError, match=r"a CPU has no numbered devices: pass --trainer\.devices 1"):
                check_devices(accelerator, devices)


def test_a_gpu_that_is_not_there_is_refused(gpus: Any) -> None:
    gpus(0)
    for accelerator in ("gpu", "cuda", "mps"):
        with pytest.raises(ValueError, match=rf"accelerator is {accelerator}.*--trainer\.accelerator cpu, or auto"):
            check_devices(accelerator, "auto")
    for accelerator in ("cpu", "auto"):
        check_devices(accelerator, 8)  # eight processes on the CPU


def test_more_gpus_than_there_are_are_refused(gpus: Any) -> None:
    gpus(2)
    for accelerator in ("gpu", "auto"):
        for devices in ("auto", -1, 1, 2, "2", [0, 1], "0,1", "0,"):
            check_devices(accelerator, devices)
        for devices in (8, "8"):
            with pytest.raises(ValueError, match=r"devices is 8, but this machine has 2 GPUs; .*--trainer\.devices 2"):
                check_devices(accelerator, devices)
        for devices in ([0, 5], "0,5"):
            with pytest.raises(ValueError, match=r"names GPU 5, but this machine has 2 GPUs"):
                check_devices(accelerator, devices)
    check_devices("cpu", 8)


@pytest.mark.parametrize(
    ("callback", "fix"),
    [(LearningRateFinder(), "--config sweeps/lr_range.yaml"), (BatchSizeFinder(), "--data.batch_size")],
)
def test_callbacks_that_search_settings_are_refused(callback: Any, fix: str) -> None:
    check_callbacks([EarlyStopping("val/loss")])
    with pytest.raises(ValueError, match=fix):
        check_callbacks([EarlyStopping("val/loss"), callback])


def test_a_model_of_one_kind_with_data_of_another_is_refused() -> None:
    model = CharLanguageModel(CharRNN(8), optimizer=torch.optim.SGD, schedule=Constant)
    check_data_fits_model(model, CharTextDataModule("nowhere.txt"))  # whose files nobody reads yet
    with pytest.raises(
        ValueError, match=r"CharLanguageModel works on characters, but DigitsDataModule.*CharTextDataMo"
    ):
        check_data_fits_model(model, DigitsDataModule())
