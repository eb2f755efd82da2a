"""Mistakes on the command line and in files: each ends in one line that names it, with exit code 2."""

import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import cli
from command_line.carried_configs import with_checkpoint_config
from command_line.help_pages import help_option
from tests.quickstart import QUICKSTART, SMALL, checkpoint_of


class Hostile:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--trainer.max_epoch", "3"], ["max_epoch", "trainer.max_epochs"]),
        (["--model.architecture.dept", "20"], ["dept", "depth"]),
        (["--model.architecture", "ResNett"], ["ResNett", "ResNet"]),
        (["--model.architecture", "torch.nn.Linear"], ["torch.nn.Linear", "ImageClassifierNet"]),
        (["--trainer.max_epochs", "three"], ["trainer.max_epochs", "int", "three"]),
        (["--model.architecture.num_classes", "0"], ["num_classes", "at least 1"]),
        (["--model.architecture", "ResNet", "--model.architecture.depth", "19"], ["depth", "19", "18, 20"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
        (
            ["--data", "CIFAR10DataModule", "--data.root", "nowhere", "--data.download", "false"],
            ["nowhere", "--data.root"],
        ),
        (["--run_dir", f"{__file__}/run"], ["run folder", "--run_dir"]),
        (["--model.init_from", "nowhere.pt"], ["init_from", "nowhere.pt"]),
    ],
)
def test_mistakes_end_in_one_line(oneforall, args, words):
    outcome = oneforall("fit", "--config", QUICKSTART, *args)
    assert outcome.code == 2
    assert all(word in outcome.last_line for word in words), outcome.last_line


@pytest.mark.parametrize("option", ["--config mine.yaml", "--config=mine.yaml", "-c mine.yaml", "-c=mine.yaml"])
def test_a_misspelt_key_names_its_file(oneforall, tmp_path, option):
    (tmp_path / "mine.yaml").write_text("trainer:\n  max_epoch: 3\n")
    outcome = oneforall("fit", "--config", QUICKSTART, *option.split())
    assert outcome.code == 2
    assert "mine.yaml" in outcome.last_line
    assert "did you mean trainer.max_epochs?" in outcome.last_line


def test_the_last_of_two_checkpoints_is_taken(oneforall, finished_run):
    good = checkpoint_of(finished_run)
    for args in (
        ["--ckpt_path=" + good, "--ckpt_path", "nowhere.ckpt"],
        ["--ckpt_path", good, "--ckpt_path=nowhere.ckpt"],
    ):
        outcome = oneforall("test", *args)
        assert outcome.code == 2
        assert "checkpoint nowhere.ckpt does not exist" in outcome.last_line


@pytest.mark.parametrize("damage", ["missing", "cut", "garbage", "foreign", "hostile", "hostile pickle"])
def test_a_bad_checkpoint_ends_in_one_line(oneforall, finished_run, tmp_path, damage):
    bad, trap = tmp_path / "bad.ckpt", tmp_path / "trap"
    if damage == "cut":
        bad.write_bytes(Path(checkpoint_of(finished_run)).read_bytes()[:20_000])
    elif damage == "garbage":
        bad.write_bytes(b"hello" * 1000)
    elif damage == "foreign":
        torch.save({"state_dict": {}}, bad)
    elif damage == "hostile":
        torch.save({"state_dict": {}, "config": {}, "more": Hostile(trap)}, bad)
    elif damage == "hostile pickle":
        bad.write_bytes(pickle.dumps(Hostile(trap)))
    for command in ("test", "predict", "validate", "fit"):
        outcome = oneforall(command, *(["--config", QUICKSTART] if command == "fit" else []), "--ckpt_path", str(bad))
        assert outcome.code == 2
        assert str(bad) in outcome.last_line
    assert not trap.exists()


def test_a_checkpoint_of_the_old_layout_says_how_to_go_on(oneforall, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "old")
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(checkpoint_of(finished_run, name), weights_only=True)
        del content["format"]  # version 0.1 had none
        torch.save(content, checkpoint_of(tmp_path / "old", name))
    config = tmp_path / "old" / "config.yaml"
    config.write_text(config.read_text().replace("lightning_modules.optim.muon.", "lightning_modules.optimizers."))
    assert "lightning_modules.optimizers.Muon" in config.read_text()
    old = checkpoint_of(Path("old"))
    resume = ["--run_dir", "old", "--resume"]
    for command in (["test", "--ckpt_path", old], ["fit", "--config", QUICKSTART, *resume], ["fit", *resume]):
        outcome = oneforall(*command)
        assert outcome.code == 2
        assert "an earlier version of this program" in outcome.last_line
        assert "--model.init_from old/checkpoints/" in outcome.last_line
    fit = ["fit", "--config", QUICKSTART, *SMALL, "--trainer.max_epochs", "1", "--run_dir", "new"]
    assert oneforall(*fit, "--model.init_from", old).code == 0


def test_evaluation_needs_a_checkpoint(oneforall):
    outcome = oneforall("test", "--config", QUICKSTART)
    assert outcome.code == 2
    assert "--ckpt_path" in outcome.last_line


@pytest.mark.parametrize("flag", [["--debug"], ["--debug=true"], ["--debug", "true"], ["--debug", "--name", "x"]])
def test_debug_shows_the_trace(oneforall, flag):
    with pytest.raises(FileNotFoundError):
        oneforall("test", "--ckpt_path", "nowhere.ckpt", *flag)


@pytest.mark.parametrize("flag", [["--debug=false"], ["--debug", "false"]])
def test_debug_may_be_off(oneforall, flag):
    assert oneforall("test", "--ckpt_path", "nowhere.ckpt", *flag).code == 2


def test_weights_that_do_not_fit_end_in_one_line(oneforall, finished_run):
    wider = ["--model.architecture.widths", "[8,8,16]"]
    outcome = oneforall("test", "--ckpt_path", checkpoint_of(finished_run), *wider)
    assert outcome.code == 2
    assert checkpoint_of(finished_run) in outcome.last_line
    assert "size mismatch for architecture." in outcome.last_line


def test_predictions_to_a_folder_are_refused_at_once(oneforall, finished_run, tmp_path):
    outcome = oneforall("predict", "--ckpt_path", checkpoint_of(finished_run), "--output", str(tmp_path))
    assert outcome.code == 2
    assert f"--output {tmp_path} is a folder" in outcome.last_line


def test_a_monitor_that_is_never_logged_is_named_before_training(oneforall, tmp_path):
    outcome = oneforall("fit", "--config", QUICKSTART, "--checkpoint.monitor", "val/acuracy", "--name", "x")
    assert outcome.code == 2
    assert "did you mean val/accuracy?" in outcome.last_line
    assert not (tmp_path / "runs" / "x").exists()


def test_an_error_of_wandb_ends_in_one_line(oneforall, monkeypatch):
    class LoginError(Exception):
        pass

    def fail(self, subcommand):
        raise LoginError("api_key not configured (no-tty)")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Error=LoginError, finish=lambda exit_code: None))
    monkeypatch.setattr(cli.OneForAllCLI, "_run_subcommand", fail)
    outcome = oneforall("fit", "--config", QUICKSTART)
    assert outcome.code == 2
    assert "wandb: api_key not configured" in outcome.last_line
    assert "wandb_offline.yaml" in outcome.last_line


def test_help_is_asked_for_by_an_option_not_by_a_value():
    for args in (["test", "-h"], ["fit", "--help.all"], ["fit", "--model.help", "X"], ["fit", "--model.help=X"]):
        assert help_option(args)
    assert not help_option(["test", "--ckpt_path", "runs/self-help/checkpoints/best.ckpt"])
    with pytest.raises(FileNotFoundError, match="self-help"):
        with_checkpoint_config(["test", "--ckpt_path", "runs/self-help/checkpoints/best.ckpt"])
