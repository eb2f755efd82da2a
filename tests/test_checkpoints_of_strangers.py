"""Checkpoints whose config a stranger has changed, given to the command line and to `load_from_checkpoint`."""

import copy
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from architectures.custom_cnn import CustomCNN
from command_line.process import import_packages
from lightning_modules.char_language_model import CharLanguageModel
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.text_seq2seq import TextSeq2Seq
from lightning_modules.training_module import TrainingModule
from tests.quickstart import QUICKSTART, SMALL

COMMANDS = ("fit", "validate", "test", "predict")


@pytest.fixture
def best(finished_run: Path) -> Path:
    return finished_run / "checkpoints" / "best.ckpt"


@pytest.fixture
def altered(best: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the run's checkpoint after a change of its content."""
    content = torch.load(best, weights_only=True)

    def write(change: Callable[[dict[str, Any]], Any]) -> Path:
        mine, path = copy.deepcopy(content), tmp_path / "theirs" / "checkpoints" / "best.ckpt"
        change(mine)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(mine, path)
        return path

    return write


def model(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint["config"]["model"]["init_args"]


def system(trap: Path) -> dict[str, Any]:
    return {"class_path": "os.system", "init_args": {"command": f"touch {trap}"}}


ATTACKS: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    "os.system": lambda them, trap: model(them).update(optimizer=system(trap)),
    "subprocess.getoutput": lambda them, trap: model(them).update(
        optimizer={"class_path": "subprocess.getoutput", "init_args": {"cmd": f"touch {trap}"}}
    ),
    "callbacks.run.run_folder.os.system": lambda them, trap: model(them).update(
        schedule={**system(trap), "class_path": "callbacks.run.run_folder.os.system"}
    ),
    "os.mkdir": lambda them, trap: model(them).update(
        architecture={"class_path": "os.mkdir", "init_args": {"path": str(trap)}}
    ),
    "LambdaCallback": lambda them, trap: them["config"]["trainer"]["callbacks"].append(
        {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": "os.system"}}
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_ends_in_one_line_whatever_the_command(oneforall, altered, tmp_path, attack):
    trap = tmp_path / "trap"
    path = altered(lambda them: ATTACKS[attack](them, trap))
    for command in COMMANDS:
        outcome = oneforall(command, "--ckpt_path", str(path))
        assert outcome.code == 2
        assert all(word in outcome.last_line for word in (str(path), attack, "--trust_checkpoint")), outcome.err
    assert not trap.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("where", ["config", "hyper_parameters"])
def test_python_refuses_an_attack_too(altered, tmp_path, where):
    def poison(them: dict[str, Any]) -> None:
        (model(them) if where == "config" else them["hyper_parameters"])["optimizer"] = system(tmp_path / "trap")

    with pytest.raises(ValueError, match=r"names 'os\.system'.*trust_checkpoint=True"):
        ImageClassifier.load_from_checkpoint(altered(poison))
    assert not (tmp_path / "trap").exists()


def test_a_checkpoint_names_no_place_to_write_to(oneforall, altered, tmp_path):
    def poison(them: dict[str, Any]) -> None:
        trainer = them["config"]["trainer"]
        them["config"].update(
            name="../../elsewhere", run_dir="elsewhere", output="elsewhere.csv", trust_checkpoint=True
        )
        trainer.update(default_root_dir="elsewhere", limit_test_batches=0)
        trainer["profiler"] = {
            "class_path": "lightning.pytorch.profilers.SimpleProfiler",
            "init_args": {"dirpath": "elsewhere", "filename": "profile"},
        }
        trainer["logger"] = {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": "elsewhere"},
        }
        trainer["callbacks"].append(
            {
                "class_path": "callbacks.predictions.image_predictions.Predictions",
                "init_args": {"output": "elsewhere.csv"},
            }
        )

    path = str(altered(poison))
    for command in ("test", "predict"):
        assert oneforall(command, "--ckpt_path", path).code == 0
    assert [each.name for each in tmp_path.iterdir()] == ["theirs"]
    assert {"test_metrics.json", "predictions.csv"} <= {each.name for each in (tmp_path / "theirs").iterdir()}


def test_a_size_that_cannot_be_built_ends_in_one_line(oneforall, altered):
    path = altered(lambda them: model(them)["architecture"]["init_args"].update(num_classes=2**40))
    assert oneforall("test", "--ckpt_path", str(path)).code == 2
    with pytest.raises(ValueError, match="cannot be built"):
        ImageClassifier.load_from_checkpoint(path)


def test_a_network_of_ones_own_needs_the_flag(oneforall, altered, tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(
        "from architectures.custom_cnn import CustomCNN\nclass OwnNet(CustomCNN):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = altered(lambda them: model(them)["architecture"].update(class_path="own_networks.OwnNet"))
    outcome = oneforall("test", "--ckpt_path", str(path))
    assert outcome.code == 2
    assert "model.architecture names 'own_networks.OwnNet'" in outcome.last_line
    assert "own_networks" not in sys.modules
    assert oneforall("test", "--ckpt_path", str(path), "--trust_checkpoint", "false").code == 2
    assert oneforall("test", "--ckpt_path", str(path), "--trust_checkpoint").code == 0
    assert "own_networks" in sys.modules
    fit = ["fit", "--ckpt_path", str(path), "--trust_checkpoint", "--trainer.max_epochs", "2", "--run_dir", "again"]
    assert oneforall(*fit).code == 0
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text()).get("trust_checkpoint") is None
    monkeypatch.delitem(sys.modules, "own_networks")


def test_a_state_of_callbacks_deletes_nothing(oneforall, finished_run, tmp_path):
    """Lightning deletes the best weights so far when better ones come, under the path that the checkpoint states."""
    shutil.copytree(finished_run, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    (state,) = [state for name, state in content["callbacks"].items() if name.startswith("BestCheckpoint")]
    victim = "anywhere/.."
    state.update(
        kth_best_model_path=victim, best_k_models={victim: torch.tensor(-1.0)}, best_model_score=torch.tensor(-1.0)
    )
    state.update(kth_value=torch.tensor(-1.0))
    torch.save(content, last)
    (tmp_path / "run" / "keep.txt").touch()
    fit = ["fit", "--config", QUICKSTART, *SMALL, "--run_dir", "run", "--resume", "--trainer.max_epochs", "3"]
    assert oneforall(*fit).code == 0
    assert (tmp_path / "run" / "keep.txt").exists()
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


# --- optimizer and schedule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["optimizer", "schedule"])
def test_a_fit_without_optimizer_or_schedule_ends_before_it_begins(oneforall, tmp_path, argument):
    outcome = oneforall("fit", "--config", QUICKSTART, f"--model.{argument}", "null")
    assert outcome.code == 2
    assert f"model.{argument} is missing" in outcome.last_line
    assert not (tmp_path / "runs").exists()


def test_a_module_without_optimizer_infers_but_does_not_train(tmp_path):
    module = ImageClassifier(architecture=CustomCNN(widths=[8, 8, 8])).eval()
    assert module(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 10)
    for argument in ("schedule", "optimizer"):
        with pytest.raises(ValueError, match=f"model.{argument} is missing"):
            module.configure_optimizers()
        module.schedule = lambda optimizer, steps: torch.optim.lr_scheduler.ConstantLR(optimizer)


# --- load_from_checkpoint ------------------------------------------------------------------------------------------


def test_a_loaded_module_evaluates_right_away_and_warns_of_nothing(best):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = ImageClassifier.load_from_checkpoint(best, map_location="cpu")
    assert not any(each.training for each in module.modules())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    saved = torch.load(best, weights_only=True)["state_dict"]
    module(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert torch.equal(value, saved[name]), name
    assert module.class_names == [str(digit) for digit in range(10)]
    assert module.hparams["architecture"]["init_args"]["widths"] == [8, 8, 8]


def test_arguments_may_differ_and_be_objects(best):
    network = CustomCNN(widths=[8, 8, 8])
    module = ImageClassifier.load_from_checkpoint(best, tta="flip_translate", architecture=network)
    assert module.tta == "flip_translate"
    assert module.architecture is network
    assert module.label_smoothing == 0.1
    with pytest.raises(ValueError, match=r"best\.ckpt do not fit the model.*size mismatch"):
        ImageClassifier.load_from_checkpoint(best, architecture=CustomCNN(widths=[8, 8, 16]))


@pytest.mark.parametrize("other", [TextSeq2Seq, CharLanguageModel])
def test_a_checkpoint_of_another_module_is_refused(best, other):
    name = other.__name__
    with pytest.raises(
        ValueError, match=rf"best\.ckpt holds ImageClassifier, not {name}: use a checkpoint of {name}, or open"
    ):
        other.load_from_checkpoint(best)
    assert type(TrainingModule.load_from_checkpoint(best)) is ImageClassifier


def test_only_a_trusted_checkpoint_may_be_a_pickle(best, tmp_path):
    content = torch.load(best, weights_only=True)
    content["hyper_parameters"] = {"architecture": CustomCNN(widths=[8, 8, 8])}  # as of a module built in Python
    torch.save(content, tmp_path / "pickle.ckpt")
    with pytest.raises(ValueError, match="not plain data"):
        ImageClassifier.load_from_checkpoint(tmp_path / "pickle.ckpt")
    with pytest.raises(ValueError, match="trust_checkpoint=True"):
        ImageClassifier.load_from_checkpoint(tmp_path / "pickle.ckpt", weights_only=False)
    module = ImageClassifier.load_from_checkpoint(tmp_path / "pickle.ckpt", trust_checkpoint=True)
    assert torch.equal(module.mean, content["state_dict"]["mean"])
    assert not module.training


def test_a_loaded_module_is_trained_from_its_weights_in_train_mode(best, tmp_path):
    import_packages(["datamodules"])
    from datamodules.digits import DigitsDataModule

    module = ImageClassifier.load_from_checkpoint(best, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
    with torch.no_grad():  # as no initialisation would leave them
        for parameter in module.parameters():
            parameter.add_(0.125)
    before = {name: value.clone() for name, value in module.architecture.named_parameters()}
    modes = []
    module.register_forward_hook(lambda *_: modes.append(module.training))
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 1}
    Trainer(accelerator="cpu", default_root_dir=tmp_path, limit_val_batches=0, **settings).fit(
        module, DigitsDataModule()
    )
    assert modes == [True]
    for name, value in module.architecture.named_parameters():
        assert torch.equal(value, before[name]), name
