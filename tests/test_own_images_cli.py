"""Your own photographs by the shipped configs and nothing else: classes, split and weights are found or stated."""

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml

from datamodules.images.normalization import IMAGENET
from lightning_modules.image_classifier import ImageClassifier
from tests.close import assert_close
from tests.conftest import Outcome
from tests.photographs import SHAPES, write_photographs

FINETUNE = ("fit", "--config", "images/finetune.yaml", "--data.root", "photos")
SMALL = ("--data.image_size", "32", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
ADDRESS = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


class Network:
    """What torch downloads from: nothing at first."""

    def __init__(self) -> None:
        self.weights: dict[str, Any] | None = None
        self.asked: list[tuple[str, str | None]] = []

    def download(self, url: str, file: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        self.asked.append((url, hash_prefix))
        if self.weights is None:
            raise OSError("Name or service not known")
        torch.save(self.weights, file)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Network:
    there = Network()
    monkeypatch.setattr("torch.hub.download_url_to_file", there.download)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    write_photographs(tmp_path / "photos", 12)
    return there


def config_of(run: str) -> Any:
    return yaml.safe_load(Path("runs", run, "config.yaml").read_text())


def test_without_a_network_a_folder_trains_from_scratch_and_says_so(
    oneforall: Callable[..., Outcome], network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.warns(UserWarning, match="cannot be downloaded.*put it there as.*Training starts from scratch"):
        first = oneforall(*FINETUNE, *SMALL)
    assert first.code == 0, first.err
    config = config_of("finetune")
    assert config["model"]["init_args"]["init_from"] is None  # what the run did
    assert config["model"]["init_args"]["architecture"]["init_args"]["num_classes"] == 3
    lines = "\n".join(caplog.messages)
    assert "training: photos, 29 images of 3 classes" in lines
    assert "validation: split off photos, 3 images of 3 classes" in lines
    assert "each epoch leaves out 13 of these images" in lines  # 29 = 16 + 13

    # The run goes on as it began, although the weights can be had by now, and one class more has come
    network.weights = torchvision.models.resnet18(num_classes=1000).state_dict()
    resumed = oneforall(*FINETUNE, *SMALL[:2], "--trainer.max_epochs", "2", "--resume")
    assert resumed.code == 0, resumed.err
    assert config_of("finetune")["model"] == config["model"]
    with Path("runs/finetune/metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["train/loss"]] == ["0", "1"]


def test_published_weights_are_downloaded_once_and_normalised_for(
    oneforall: Callable[..., Outcome], network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    torch.manual_seed(3)
    network.weights = torchvision.models.resnet18(num_classes=1000).state_dict()
    outcome = oneforall(*FINETUNE, *SMALL, "--model.optimizer.lr", "0")
    assert outcome.code == 0, outcome.err
    assert network.asked == [(ADDRESS, "f37072fd")]
    assert "120 of 122 tensors loaded; new: fc.weight; fc.bias" in "\n".join(caplog.messages)
    model = ImageClassifier.load_from_checkpoint("runs/finetune/checkpoints/last.ckpt")
    assert model.class_names == sorted(SHAPES)
    assert_close(model.mean, torch.tensor(IMAGENET[0]))
    assert torch.equal(model.architecture.get_parameter("conv1.weight"), network.weights["conv1.weight"])
    assert oneforall("test", "--ckpt_path", "runs/finetune", "--trainer.accelerator", "cpu").code == 0


def test_weights_that_a_run_cannot_do_without_end_it_in_one_line(
    oneforall: Callable[..., Outcome], network: Network
) -> None:
    outcome = oneforall(*FINETUNE, *SMALL, "--model.init_offline", "stop")
    assert outcome.code == 2
    assert ADDRESS in outcome.last_line
    assert "--model.init_from FILE" in outcome.last_line
    assert not Path("runs").exists()


def test_a_given_number_of_classes_is_not_overruled(oneforall: Callable[..., Outcome], network: Network) -> None:
    flags = ("--data.root", "photos", *SMALL, "--model.architecture.num_classes", "4")
    outcome = oneforall("fit", "--config", "images/scratch.yaml", *flags)
    assert outcome.code == 2
    assert "the data has 3 classes but model.architecture.num_classes is 4" in outcome.last_line


def test_a_folder_that_is_missing_is_named_before_anything_is_built(
    oneforall: Callable[..., Outcome], network: Network
) -> None:
    outcome = oneforall("fit", "--config", "images/scratch.yaml", "--data.root", "elsewhere")
    assert outcome.code == 2
    assert outcome.last_line == "oneforall: error: data.root elsewhere is not a folder: check the path"
