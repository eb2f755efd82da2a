"""W&B and TensorBoard from the command line, as their own files and TensorBoard's server show them."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

import cli
from callbacks.trackers.wandb_record import STEP, _records
from tests.callbacks.fakes import Snapshots

ROOT = Path(__file__).parents[1]
OFFLINE = ["--config", str(ROOT / "configs/logger/wandb_offline.yaml")]
TENSORBOARD = ["--config", str(ROOT / "configs/logger/tensorboard.yaml")]
FIT = [
    *["fit", "--config", str(ROOT / "configs/quickstart/images.yaml"), "--model.architecture.widths", "[8,8,8]"],
    *["--trainer.limit_train_batches", "4", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1"],
    *["--resume_checkpoint.every_n_steps", "3"],
]


@pytest.fixture(autouse=True)
def no_login(monkeypatch, tmp_path):
    """A user who has never logged in to W&B."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb data"))


class Offline:
    """Everything in the offline records of a run folder, in the order of their sessions."""

    def __init__(self, folder: Path) -> None:
        wandb.teardown()  # its service writes the last records after `finish` has returned
        self.folders = sorted((folder / "wandb").glob("offline-run-*"))
        self.records: list[Any] = []
        for file in (file for session in self.folders for file in session.glob("*.wandb")):
            for content in _records(file.read_bytes()):
                self.records.append(Record())
                self.records[-1].ParseFromString(content)

    def of(self, kind: str) -> Iterator[Any]:
        return (getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind)

    def history(self) -> list[dict[str, Any]]:
        return [{"/".join(i.nested_key): json.loads(i.value_json) for i in each.item} for each in self.of("history")]

    def config(self) -> dict[str, Any]:
        return {each.key: json.loads(each.value_json) for record in self.of("config") for each in record.update}

    def files(self) -> list[str]:
        return [file.path for record in self.of("files") for file in record.files]


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{key: float(text) for key, text in row.items() if text} for row in csv.DictReader(file)]


@pytest.fixture
def killed(oneforall, monkeypatch, tmp_path) -> Path:
    """A run folder as `kill -9` leaves it after six of eight steps: W&B has written nothing of what it was sent."""
    observers = cli.OneForAllCLI._observers
    snapshots = Snapshots(tmp_path / "run", tmp_path / "copies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.OneForAllCLI, "_observers", lambda self, options: [*observers(self, options), snapshots])
        assert oneforall(*FIT, *OFFLINE, *TENSORBOARD, "--run_dir", "run").code == 0
    (tmp_path / "run").rename(tmp_path / "reference")
    shutil.copytree(tmp_path / "copies" / "batch-6", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.slow
@pytest.mark.first
def test_4482_4624_5865_an_offline_run_killed_resumed_and_tested_is_one_run(oneforall, killed):
    reference = killed.parent / "reference"
    rows = rows_of(reference)
    outcome = oneforall("fit", "--run_dir", "run", "--resume")  # the folder says that it is tracked
    run_id = json.loads((killed / "wandb" / "run.json").read_text())["id"]
    assert outcome.code == 0
    assert f"W&B: wandb sync run/wandb/offline-run-*-{run_id}" in outcome.out
    assert f"wandb sync run/wandb/offline-run-*-{run_id}" in (killed / "summary.md").read_text()
    assert rows_of(killed) == rows
    assert oneforall("test", "--ckpt_path", "run").code == 0

    record = Offline(killed)
    assert len(record.folders) == 3
    assert {run.run_id for run in record.of("run")} == {run_id}
    assert {run.display_name for run in record.of("run")} == {"run"}
    numbers = [
        {key: value for key, value in row.items() if type(value) in (int, float) and not key.startswith("_")}
        for row in record.history()
    ]
    expected = [{**{key: value for key, value in row.items() if key != "step"}, STEP: row["step"]} for row in rows]
    names = {name for row in expected for name in row}
    curve = [{key: value for key, value in row.items() if key in names} for row in numbers if STEP in row]
    assert [row for row in curve if row.keys() != {STEP}] == expected

    config = yaml.safe_load((killed / "config.yaml").read_text())
    assert record.config()["model"] == config["model"]
    assert record.config()["data"] == config["data"]
    figures = json.loads((killed / "test_metrics.json").read_text())
    (tested,) = [row for row in record.history() if "test/accuracy" in row]
    assert tested["test/accuracy"] == figures["test/accuracy"]
    media = " ".join(record.files())
    for image in ("images/curves", "images/confusion_matrix", "images/mistakes", "images/test/confusion_matrix"):
        assert image in media
    assert [artifact.name for artifact in record.of("artifact")] == [f"model-{run_id}"]

    there = EventAccumulator(str(killed / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    for name in {key for row in rows for key in row} - {"epoch", "step"}:
        values = [(row["step"], np.float32(row[name])) for row in rows if name in row]
        assert [(event.step, event.value) for event in there.Scalars(name)] == values
    assert there.Scalars("test/accuracy")[-1].value == np.float32(figures["test/accuracy"])
    assert {"curves", "confusion_matrix", "mistakes", "test/mistakes"} <= set(there.Tags()["images"])


def test_without_a_login_a_fit_says_so_in_one_line_and_nothing_is_written(oneforall, tmp_path):
    outcome = oneforall(*FIT, "--config", str(ROOT / "configs/logger/wandb.yaml"), "--run_dir", "run")
    assert outcome.code == 2
    assert outcome.last_line.startswith("oneforall: error: ")
    assert "run `wandb login` once" in outcome.last_line
    assert not (tmp_path / "run").exists()
    assert oneforall(*FIT, "--config", str(ROOT / "configs/logger/wandb.yaml"), "--print_config").code == 0
