"""What a user reads after a mistake: one line that names the field and what to write instead."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

import cli

QUICKSTART = ["--config", "quickstart/images.yaml"]


@pytest.fixture
def last_line(capsys, monkeypatch, tmp_path):
    """Runs `oneforall fit` in this process, in a folder of its own, and returns the one line that it ends with."""
    monkeypatch.chdir(tmp_path)

    def of(*args: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            cli.main(["fit", *args])
        assert leaving.value.code == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return error.strip().splitlines()[-1]

    return of


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ("--optimizer Adam", "no option optimizer; did you mean model.optimizer?"),
        ("--lr 0.1", "did you mean model.optimizer.lr?"),
        ("--epochs 3", "did you mean trainer.max_epochs?"),
        ("--trainer.max_epoch 3", "did you mean trainer.max_epochs?"),
        ("--data.augmentation.mixup 0.2", "did you mean data.augmentation.mixup_alpha?"),
        ("--trainer.callbacks+=EarlyStoping", "no Callback named EarlyStoping; did you mean EarlyStopping?"),
        ("--seed_everything true", "seed_everything: expected int, got true"),
        ("--data.batch_size auto", "data.batch_size: expected int, got auto"),
        ("--trainer.max_epochs", "--trainer.max_epochs needs a value"),
        ("--model.tta flop", "model.tta: expected one of none, flip, flip_translate, got flop"),
        ("--model.schedule Nope", "known LRScheduler: Constant, WarmupCosine, InverseSqrt, OneCycle, MultiStep, "),
        ("--model.optimizer Nope", "known Optimizer: Adafactor, Muon, ScaledAdamW, "),
        ("--model.architecture Nope", "MobileNetV1, MobileNetV2, MobiNet, ResNet"),
        ("--model.architecture torch.nn.Nope", "no ImageClassifierNet named torch.nn.Nope"),
        ("--model.architecture ResNet --model.architecture.depth 19", "depth must be one of 18, 20, 32, 34, "),
        ("--model.architecture.depth 20", "CustomCNN has none; set model.architecture.class_path to ResNet, which"),
        (
            "--model DigitsDataModule",
            "model: DigitsDataModule is not a subclass of LightningModule; it belongs to data",
        ),
        (
            "--model.architecture torch.optim.SGD",
            "SGD is not a subclass of ImageClassifierNet; it belongs to model.optimizer",
        ),
        (
            "--model.architecture torchvision.models.resnet18",
            "resnet18 cannot be used as ImageClassifierNet: use Tor",
        ),
        ("--model.architecture timm.models.ResNet", "use TimmNet instead, with a `name` such as vit_tiny_pat"),
        ("--data TextSeq2SeqDataModule", "data: TextSeq2SeqDataModule needs task; pass --data.task, or a config"),
        ("some words", "some words belongs to no option"),
    ],
)
def test_a_mistake_in_a_flag(last_line, args, line):
    assert line in last_line(*QUICKSTART, *args.split())


def test_a_command_without_its_config(last_line):
    assert "needs model and data; pass a config, such as `oneforall fit --config quickstart/images.yaml`" in last_line()
    assert "a config is passed with --config: oneforall fit --config mine.yaml" in last_line("mine.yaml")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "mine.yaml is empty"),
        (
            "trainer:\nmax_epochs: 3\n",
            "max_epochs (in mine.yaml, line 2); indent it so that it is under `trainer:` (line 1)",
        ),
        ("trainer:\n  max_epoch: 3\n", "(in mine.yaml, line 2); did you mean trainer.max_epochs?"),
        ("trainer:\n  default_root_dir: x\n", "--run_dir DIR"),
        ("name: no\n", "name (in mine.yaml, line 1): expected str, got false; quote it"),
        (
            "model:\n  class_path: DigitsDataModule\n",
            "model (in mine.yaml, line 2): DigitsDataModule is not a subclass of",
        ),
        ("trainer:\n  callbacks:\n  - init_args: {patience: 3}\n", "trainer.callbacks (in mine.yaml, line 2) names no"),
        (
            "trainer:\n  callbacks:\n  - class_path: EarlyStopping\n    init_args: {monitor: x, patienc: 3}\n",
            "no option trainer.callbacks.patienc (in mine.yaml, line 4); did you mean trainer.callbacks.patience?",
        ),
    ],
)
def test_a_mistake_in_a_config(last_line, content, line):
    Path("mine.yaml").write_text(content)
    assert line in last_line(*QUICKSTART, "--config", "mine.yaml")


def test_a_config_that_names_no_class(last_line):
    Path("mine.yaml").write_text("model:\n  architecture:\n    class_path: ResNet\n")
    line = last_line("--config", "mine.yaml")
    assert "model (in mine.yaml, line 1) names no class: write `class_path: NAME`" in line
    assert "ImageClassifier" in line


def test_a_network_without_its_base_class(last_line, monkeypatch):
    module = ModuleType("architectures.lonely_net")
    module.LonelyNet = type("LonelyNet", (nn.Module,), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    line = last_line(*QUICKSTART, "--model.architecture", "LonelyNet")
    assert (
        "LonelyNet (architectures.lonely_net) is not a subclass of ImageClassifierNet: derive it, as in "
        "`class LonelyNet(ImageClassifierNet)` with `from architectures.base import ImageClassifierNet`" in line
    )
    assert "did you mean" not in line


def test_scientific_notation_without_a_point_is_a_number(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("model:\n  init_args:\n    optimizer:\n      init_args: {lr: 1e-3}\n")
    with pytest.raises(SystemExit) as leaving:
        cli.main(["fit", *QUICKSTART, "--config", "mine.yaml", "--print_config"])
    assert not leaving.value.code
    assert "lr: 0.001" in capsys.readouterr().out
