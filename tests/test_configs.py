"""Every file in configs/ is parsed and built, as `oneforall fit` would, without training anything."""

import copy
import csv
import importlib.util
import json
import math
import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

import cli
from architectures.t5.config import PRESETS as T5_PRESETS
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.run.run_folder import RUN_DIR_VARIABLE
from command_line.process import import_packages
from tests.callbacks.run.stopped_run import differences
from utils.checkpoint_config import taken_config
from utils.trust import PACKAGES

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
PRESETS = ("trainer", "logger", "sweeps", "cifar10/short")  # what is added to the config of a run, or tried with it
BASE = "cifar10/resnet20.yaml"
TOKENIZER_FIELDS = ("tokenizer", "tokenizer_model", "vocab_size", "num_sentinels")

ALL = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml"))
HUGE = ("t5/large.yaml", "t5/3b.yaml")
"""Runs whose networks would take seconds and gigabytes: they are built without values."""

ALIKE = (
    *(f"cifar10/resnet{depth}.yaml" for depth in (32, 34, 44, 56, 101, 110, 152)),
    *("t5/3b.yaml", "multi30k/de-en.yaml"),
)
"""Runs that differ from another one only by more of the same layers, or by their files."""

HF_IMAGES = "datasets/hf_images.yaml"  # its classes are in the data, which an extra reads
RUNS = [
    name
    for name in ALL
    if not name.startswith(PRESETS) and (name != HF_IMAGES or importlib.util.find_spec("datasets") is not None)
]


class Built(cli.OneForAllCLI):
    """The command line up to the point where training would start."""

    asked: dict[str, Any]

    def before_instantiate_classes(self) -> None:
        options = self.config[self.subcommand]
        self.asked = copy.deepcopy(options.trainer)
        # A machine without a GPU builds the rest of a GPU's config.
        options.trainer.accelerator, options.trainer.devices, options.trainer.strategy = "cpu", 1, "auto"
        super().before_instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        pass


DOWNLOADED = [name for name in RUNS if name.startswith("datasets/")]
"""Runs on data that must be the originals, byte by byte; tests/datamodules/test_torchvision_sets.py has others."""


def no_network(*_: object, **__: object) -> None:
    raise OSError("there is no network in these tests")


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of a command, in a folder that holds what configs read to be built."""
    import_packages(PACKAGES)
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    write_published(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["oneforall"])
    for name in (RUN_DIR_VARIABLE, "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.delenv(name, raising=False)


def write_published(folder: Path) -> None:
    """Write what names the sizes of networks: published T5s without weights, and a folder per class of photographs."""
    for name in ("t5-small", "t5-large", "t5-3b"):
        path = folder / "checkpoints" / name / "config.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"model_type": "t5", "vocab_size": 32128, **T5_PRESETS[name]}))
        path.with_name("spiece.model").touch()
    for name in ("cat", "dog", "horse"):
        (folder / "photos" / name).mkdir(parents=True)


def build(run_dir: Path, *names: str) -> Built:
    return Built(["fit", *with_configs(*names), "--run_dir", str(run_dir / "run")])


def with_configs(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--config", str(CONFIGS / name))]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.OneForAllCLI(["fit", *arguments, "--print_config"])
    assert stop.value.code in (0, None)
    return capsys.readouterr().out


def written(name: str) -> dict[str, Any]:
    """What a config and the ones it builds on say together."""
    content = yaml.safe_load((CONFIGS / name).read_text())
    base = content.pop("base", None)
    return (
        content if base is None else merged(written(str((CONFIGS / name).parent.relative_to(CONFIGS) / base)), content)
    )


def merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {key: merged(below.get(key), value) for key, value in above.items()} | {
        key: value for key, value in below.items() if key not in above
    }


def names_of(objects: list[Any]) -> list[str]:
    return [type(each).__name__ for each in objects]


@pytest.fixture
def hf_images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Images in a Parquet file, for the config that finds its classes there."""
    if HF_IMAGES in request.node.name:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
        (tmp_path / "data").mkdir(exist_ok=True)
        rows = {"image": [{"bytes": b"", "path": None}] * 2, "label": [0, 1]}
        datasets.Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "data" / "images.parquet"))


@pytest.mark.usefixtures("hf_images")
@pytest.mark.parametrize("name", RUNS)
def test_20058_21757_the_config_of_a_run_is_built_whole_and_checkpointed_as_plain_data(
    name: str, tmp_path: Path
) -> None:
    with torch.device("meta") if name in HUGE else nullcontext():
        built = build(tmp_path, name)
    config = written(name)

    for there, asked in (
        (built.model, config["model"]),
        (built.datamodule, config["data"]),
        (built.model.architecture, config["model"]["init_args"]["architecture"]),
    ):
        assert type(there).__name__ == asked["class_path"].rsplit(".", 1)[-1]
    for field, value in config["data"].get("init_args", {}).items():
        if field not in ("augmentation", *TOKENIZER_FIELDS):  # they become objects
            there = getattr(built.datamodule, field)
            there = str(there) if isinstance(there, Path) else there
            assert (type(there).__name__ == value["class_path"]) if isinstance(value, dict) else there == value, field
    if name.startswith("cifar10/resnet"):
        layers = built.model.architecture.named_modules()
        convolutions = [m for n, m in layers if isinstance(m, torch.nn.Conv2d) and "downsample" not in n]
        assert f"cifar10/resnet{len(convolutions) + 1}.yaml" == name  # the depth, with the linear layer
    assert built.trainer.max_epochs == config["trainer"]["max_epochs"]
    assert names_of(built.trainer.loggers) == ["MetricsCSV"]
    callbacks = [callback["class_path"].rsplit(".", 1)[-1] for callback in config["trainer"].get("callbacks", [])]
    assert set(callbacks) <= set(names_of(vars(built.trainer)["callbacks"]))

    # A checkpoint of the run passes the gate, and a fit takes of it all that the config asked for.
    assert taken_config(built.saved_config, "test", "best.ckpt")["data"] == built.saved_config["data"]
    taken = taken_config(built.saved_config, "fit", "best.ckpt")
    for part in ("architecture", "schedule"):
        assert taken["model"]["init_args"][part] == built.saved_config["model"]["init_args"][part]
    assert [each["class_path"].rsplit(".", 1)[-1] for each in taken["trainer"]["callbacks"]] == callbacks

    if name in HUGE:  # an optimizer measures its weights, which have no values
        return
    # What the objects of a config put into a checkpoint beside tensors is read without running anything.
    content = {
        "config": built.saved_config,
        "hyper_parameters": dict(built.model.hparams),
        "callbacks": {each.state_key: each.state_dict() for each in vars(built.trainer)["callbacks"]},
        "optimizer": built.model.build_optimizer().state_dict(),
    }
    torch.save(content, tmp_path / "content.ckpt")
    assert differences(torch.load(tmp_path / "content.ckpt", weights_only=True), content) == []


@pytest.mark.parametrize("name", ["t5/finetune.yaml", *HUGE])
def test_a_published_t5_gives_its_sizes_and_its_tokenizer(name: str, tmp_path: Path) -> None:
    folder = Path(written(name)["model"]["init_args"]["init_from"])
    with torch.device("meta"):
        built = build(tmp_path, name)
    sizes = json.loads((folder / "config.json").read_text())
    assert {field: getattr(built.model.architecture.config, field) for field in T5_PRESETS["t5-3b"]} == {
        field: sizes[field] for field in T5_PRESETS["t5-3b"]
    }
    assert built.saved_config["data"]["init_args"]["tokenizer"] == str(folder)


def test_the_classes_of_a_folder_are_those_of_the_network(tmp_path: Path) -> None:
    assert build(tmp_path / "own", "images/scratch.yaml").model.architecture.num_classes == 3
    assert build(tmp_path, "datasets/cifar100.yaml").model.architecture.num_classes == 100


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random images in the files of CIFAR-10."""
    root = tmp_path_factory.mktemp("cifar10")
    (root / "cifar-10-batches-py").mkdir()
    draw = np.random.default_rng(0)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        content = {"data": draw.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [k % 10 for k in range(20)]}
        (root / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol=2))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNS if name.startswith("cifar10")])
def test_a_config_for_cifar10_trains(name: str, cifar10: Path, tmp_path: Path) -> None:
    small = ["--data.root", str(cifar10), "--data.verify", "false", "--data.validation_size", "10"]
    small += ["--data.batch_size", "8", "--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false"]

    cli.main(["fit", *with_configs(name), *small, "--run_dir", str(tmp_path / "run")])

    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert math.isfinite(float(rows[-1]["train/loss"]))
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("trainer")])
def test_a_trainer_preset_changes_what_it_says_and_keeps_callbacks_and_loggers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("command_line.run_checks.check_devices", lambda accelerator, devices: None)
    built = build(tmp_path, BASE, name)

    for key, value in yaml.safe_load((CONFIGS / name).read_text())["trainer"].items():
        asked = built.asked[key]
        if isinstance(asked, Namespace):
            asked, value = asked.class_path.rpartition(".")[2], value["class_path"]
        assert asked == value, key
    assert {"ConfusionMatrix", "ConfidentMistakes"} <= set(names_of(vars(built.trainer)["callbacks"]))
    assert names_of(built.trainer.loggers) == ["MetricsCSV"]


def test_a_logger_preset_adds_to_the_loggers_there_and_csv_goes_back_to_one(tmp_path: Path) -> None:
    built = build(tmp_path, BASE, "trainer/debug.yaml", "logger/tensorboard.yaml", "logger/wandb_offline.yaml")
    metrics, tensorboard, wandb = built.trainer.loggers

    assert isinstance(metrics, MetricsCSV)
    assert isinstance(tensorboard, TensorBoardLogger)
    assert Path(tensorboard.log_dir) == tmp_path / "run" / "tensorboard"
    assert isinstance(wandb, WandbLogger)
    assert wandb.save_dir == str(tmp_path / "run")
    assert {"ConfusionMatrix", "ConfidentMistakes"} <= set(names_of(vars(built.trainer)["callbacks"]))

    again = build(tmp_path / "again", BASE, "logger/tensorboard.yaml", "logger/csv.yaml")
    assert names_of(again.trainer.loggers) == ["MetricsCSV"]


def test_wandb_online_is_the_offline_preset_but_for_one_field() -> None:
    online, offline = (
        yaml.safe_load((CONFIGS / f"logger/{name}.yaml").read_text()) for name in ("wandb", "wandb_offline")
    )
    assert online["trainer"]["logger+"][0]["init_args"].pop("offline") is False
    assert offline["trainer"]["logger+"][0]["init_args"].pop("offline") is True
    assert online == offline


@pytest.mark.parametrize(
    "names",
    [("quickstart/images.yaml",), (BASE, "trainer/ddp.yaml", "logger/tensorboard.yaml")],
    ids=["run", "presets"],
)
def test_a_printed_config_prints_itself(
    names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = printed(capsys, *with_configs(*names))
    (tmp_path / "printed.yaml").write_text(first)

    assert printed(capsys, "--config", str(tmp_path / "printed.yaml")) == first


@pytest.mark.parametrize("name", ALL)
def test_a_config_opens_with_what_it_gives(name: str) -> None:
    assert (CONFIGS / name).read_text().startswith("# ")
