"""Comparisons of image training: ours is the shipped run, both train the same network, peers run as they are."""

import json
import sys
from pathlib import Path

import pytest
import torch
import torchvision

import cli
from benchmarks import augmentation, custom_cnn, image_training, peers, plain_cifar10
from benchmarks.data import cifar10_folder
from benchmarks.shipped import read_config, shipped_run, trainer_on
from benchmarks.turns import Turns
from command_line.process import import_packages
from tests.benchmarks.turns_in_process import Connection, OverError
from utils.precision import AUTO
from utils.trust import PACKAGES

CPU = torch.device("cpu")
MAIN = """
import os
import torch, torchvision
from models import *
from utils import progress_bar
images = torchvision.datasets.CIFAR10(root='./data', train=True, download=True)
assert len(images) == 5 * 12
net = SimpleDLA()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
while True:
    optimizer.zero_grad()
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder, what = cifar10_folder(tmp_path / "nothing", tmp_path, images=12)
    assert what == "random images"
    assert cifar10_folder(tmp_path, tmp_path / "unused") == (tmp_path, "CIFAR-10")
    return folder


def options_of(optimizer):
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return json.loads(json.dumps(groups))  # the command line has tuples for some lists


@pytest.mark.parametrize("config", ["cifar10/resnet18.yaml", "cifar10/custom_cnn.yaml"])
def test_the_run_is_that_of_the_command_line(config, root, tmp_path, monkeypatch):
    changes = {"data.root": str(root), "data.verify": False, "data.validation_size": 10, "trainer.max_epochs": 2}
    flags = [word for name, value in changes.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(cli.OneForAllCLI, "_run_subcommand", lambda *_: None)
    import_packages(PACKAGES)
    theirs = cli.OneForAllCLI(["fit", "--config", f"configs/{config}", "--run_dir", str(tmp_path / "run"), *flags])
    trainer, module, data = shipped_run([config], tmp_path / "ours", changes)

    assert [type(each) for each in trainer.callbacks] == [type(each) for each in theirs.trainer.callbacks]
    assert [type(each) for each in trainer.loggers] == [type(each) for each in theirs.trainer.loggers]
    for name in ("max_epochs", "precision", "gradient_clip_val", "accumulate_grad_batches", "log_every_n_steps"):
        assert getattr(trainer, name) == getattr(theirs.trainer, name)
    assert type(trainer.strategy.checkpoint_io) is type(theirs.trainer.strategy.checkpoint_io)
    assert str(module.architecture) == str(theirs.model.architecture)
    for name in ("label_smoothing", "tta", "channels_last", "compile_network", "seed"):
        assert getattr(module, name) == getattr(theirs.model, name)
    assert options_of(module.build_optimizer()) == options_of(theirs.model.build_optimizer())
    for name in ("batch_size", "eval_batch_size", "validation_size", "seed", "split_seed"):
        assert getattr(data, name) == getattr(theirs.datamodule, name)
    assert str(data.augmentation).translate(BRACKETS) == str(theirs.datamodule.augmentation).translate(BRACKETS)


BRACKETS = str.maketrans("()", "[]")


@pytest.mark.parametrize(
    ("device", "arguments"),
    [
        ("cpu", {"accelerator": "cpu", "devices": 1}),
        ("cuda", {"accelerator": "gpu", "devices": [0]}),
        ("cuda:1", {"accelerator": "gpu", "devices": [1]}),  # 1 alone would be any one GPU
    ],
)
def test_a_run_is_on_the_device_that_is_measured(device, arguments):
    assert trainer_on(torch.device(device)) == arguments


def test_the_shipped_precision_is_that_of_the_machine_as_the_figures_say():
    assert read_config(["cifar10/resnet18.yaml"], {})["trainer"]["precision"] == AUTO


def test_ours_and_the_plain_script_train_the_same_network_on_as_many_images(root, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["image_training"])
    ours, plain = (Turns(Connection(1), steps=2, warm_up=1, device=CPU) for _ in range(2))
    with pytest.raises(OverError):
        image_training.train_ours(ours, root, tmp_path, image_training.QUICK)
    with pytest.raises(OverError):
        plain_cifar10.train(plain, root, batch=4, depth=20, workers=0)
    assert ours.facts == plain.facts == {"parameters": 269_722, "images": 4}


def test_a_published_script_runs_as_it_is_on_the_given_data(root, tmp_path, monkeypatch):
    folder = tmp_path / "peers" / "pytorch-cifar"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(MAIN)
    (folder / "utils.py").write_text("import os\nassert os.popen('stty size', 'r').read().split()\nprogress_bar = 1\n")
    (folder / "models.py").write_text("import torch\ndef ResNet18():\n    return torch.nn.Linear(3, 1)\n")
    script = peers.find(tmp_path / "peers", peers.PYTORCH_CIFAR)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    cifar10 = torchvision.datasets.CIFAR10
    changed = ((torch.optim, "SGD"), (peers.os, "popen"), (sys, "argv"), (cifar10, "_check_integrity"))
    for place in (*changed, (cifar10, "_load_meta")):
        monkeypatch.setattr(*place, getattr(*place))  # to be put back
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script's folder is inserted
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "utils", sys.modules["utils"])
    monkeypatch.setitem(sys.modules, "models", sys)
    turns = Turns(Connection(2), steps=3, warm_up=1, device=CPU)
    with pytest.raises(OverError):
        peers.train_pytorch_cifar(turns, script, root, scratch)
    assert len(turns.connection.sent) == 3
    assert turns.facts["parameters"] == 4


def test_a_peer_that_is_not_there_is_skipped_with_a_word(tmp_path, capsys):
    assert peers.find(None, peers.AIRBENCH) is None
    assert peers.find(tmp_path, peers.AIRBENCH) is None
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{peers.AIRBENCH} is skipped: no --peers", f"{peers.AIRBENCH} is skipped: not in {tmp_path}"]


def test_times_and_accuracies_of_airbench_are_read_from_its_table():
    output = """
----------------------------------------------------------------------------------
|  run     |  epoch  |  train_acc  |  val_acc  |  tta_val_acc  |  time_seconds  |
----------------------------------------------------------------------------------
|  warmup  |      0  |     0.1000  |   0.1000  |               |        9.0000  |
|          |   eval  |     0.1000  |   0.1000  |       0.1000  |       20.0000  |
----------------------------------------------------------------------------------
|       0  |      0  |     0.5000  |   0.5000  |               |        0.3000  |
|          |   eval  |     0.9500  |   0.9300  |       0.9410  |        2.5900  |
----------------------------------------------------------------------------------
"""
    last = peers.read_airbench(output)[-1]
    assert (last.seconds, last.result) == (2.59, 0.941)


def test_a_whole_training_of_custom_cnn_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["custom_cnn"])
    custom_cnn.main(["--quick", "--data", str(tmp_path), "--output", str(tmp_path / "out")])
    read = json.loads((tmp_path / "out" / "custom_cnn_cpu.json").read_text())
    assert 0 < read["contestants"]["ours"]["median_s"] < 100
    assert 0 <= read["figures"]["test accuracy, ours"] <= 1


def test_augmentation_is_compared_after_a_check_that_fails_if_pixels_differ(tmp_path, monkeypatch):
    augmentation.main(["--quick", "--output", str(tmp_path)])
    read = json.loads((tmp_path / "augmentation_cpu.json").read_text())
    assert set(read["contestants"]) == {"ours", "torchvision"}
    calls = augmentation.Augmentation.__call__
    monkeypatch.setattr(
        augmentation.Augmentation, "__call__", lambda self, images, *a, **k: calls(self, images + 1, *a, **k)
    )
    with pytest.raises(AssertionError, match="not one that torchvision's transforms can give"):
        augmentation.main(["--quick"])
