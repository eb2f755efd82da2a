"""Runs that are killed at any moment and resumed, as W&B's server and TensorBoard's reader see them."""

import csv
import itertools
import json
import shutil
import signal
import threading
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from tensorboard import default, program  # type: ignore[import-untyped]
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from callbacks.plots.confusion_matrix import ConfusionMatrix
from callbacks.run.metrics_csv import MetricsCSV
from callbacks.trackers.trackers import Trackers
from callbacks.trackers.wandb_record import STEP
from callbacks.trackers.wandb_run import WandbRun, read_id_file
from tests.callbacks.fakes import Snapshots
from tests.callbacks.run.test_resume_checkpoint import Cut, PowerCut, Setting
from tests.callbacks.run.test_stopped_runs import Kill
from utils.interruption import Interrupted, signals_raise

CONFIG = {"model": {"class_path": "TinyNet", "init_args": {"depth": 3}}, "seed_everything": 0}


class Server:
    """What W&B's server keeps of one run, whichever process sends it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.artifacts: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.sessions = 0

    def init(self, **arguments: Any) -> "Session":
        self.ids.add(arguments["id"])
        self.tags |= set(arguments["tags"] or [])
        self.sessions += 1
        return Session(self, arguments["id"])

    def cut(self, count: int) -> None:
        """Leaves the first rows: the others never arrived."""
        self.rows = self.rows[:count]
        self.summary = {key: value for row in self.rows for key, value in row.items()}

    def scalars(self) -> list[dict[str, float]]:
        rows = [{key: value for key, value in row.items() if isinstance(value, float | int)} for row in self.rows]
        return [row for row in rows if row.keys() != {STEP}]


class Session:
    offline, url = False, "https://wandb.ai/run"

    def __init__(self, server: Server, run_id: str) -> None:
        self.id, self.server = run_id, server
        self.summary, self.name = dict(server.summary), "run"
        self.config = self

    def update(self, config: dict[str, Any], allow_val_change: bool) -> None:
        assert allow_val_change
        self.server.config.update(config)

    def log(self, row: dict[str, Any]) -> None:
        self.server.rows.append(row)
        self.server.summary.update(row)

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.server.artifacts.append(artifact.name)

    def finish(self, exit_code: int = 0) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(wandb, "init", lambda **arguments: server.init(**arguments))
    monkeypatch.setattr("callbacks.trackers.wandb_run.has_login", lambda offline: True)
    return server


class Tracked(Setting):
    """A setting with both trackers."""

    def train(self, *more: Callback, **changes: Any) -> dict[str, Any]:
        loggers: list[Logger] = [
            MetricsCSV(str(self.folder)),
            WandbRun(save_dir=str(self.folder), tags=["a"]),
            TensorBoardLogger(str(self.folder), name="", version="tensorboard", default_hp_metric=False),
        ]
        return super().train(Trackers(CONFIG), *more, logger=loggers, **changes)


class CountRows(Callback):
    """Notes how much the server has at each moment that `Snapshots` copies."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.counts: dict[str, int] = {}

    def _note(self, trainer: Trainer, name: str) -> None:
        self.counts[f"{name}-{trainer.fit_loop.total_batch_idx + 1}"] = len(self.server.rows)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._note(trainer, "batch")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "validation")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._note(trainer, "epoch")


def csv_rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{key: float(text) for key, text in row.items() if text} for row in csv.DictReader(file)]


def assert_one_curve(server: Server, rows: list[dict[str, float]], moment: str) -> None:
    expected = [{**{key: value for key, value in row.items() if key != "step"}, STEP: row["step"]} for row in rows]
    assert server.scalars() == expected, moment
    assert len(server.ids) == 1


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()


def assert_tensorboard_has(folder: Path, rows: list[dict[str, float]], moment: str) -> None:
    there = events(folder)
    names = {key for row in rows for key in row} - {"step", "epoch"}
    assert names <= set(there.Tags()["scalars"])
    for name in names:
        curve = [(event.step, event.value) for event in there.Scalars(name)]
        assert curve == [(row["step"], np.float32(row[name])) for row in rows if name in row], f"{moment} {name}"


SAVING = {"every_n_seconds": 1e9, "every_n_steps": 3}


def test_13524_11380_20726_a_run_killed_anywhere_is_one_curve(tmp_path, server):
    """`lost` rows had been sent but had not arrived, because W&B's own process was killed too."""
    copies = tmp_path / "copies"
    setting = Tracked(tmp_path / "run", saving=SAVING)
    counts = CountRows(server)
    setting.train(Snapshots(setting.folder, copies), counts)
    rows = csv_rows(setting.folder)
    assert len(rows) > 5
    assert_one_curve(server, rows, "never killed")
    assert_tensorboard_has(setting.folder, rows, "never killed")
    sent = server.rows
    for moment, lost in zip(sorted(path.name for path in copies.iterdir()), itertools.cycle([0, 1, 100]), strict=False):
        shutil.rmtree(setting.folder)
        shutil.copytree(copies / moment, setting.folder)
        server.rows = list(sent)
        server.cut(max(0, counts.counts[moment] - lost))
        setting.train()
        assert csv_rows(setting.folder) == rows
        assert_one_curve(server, rows, moment)
        assert_tensorboard_has(setting.folder, rows, moment)


def test_19728_a_run_stopped_in_a_validation_and_killed_later_is_one_curve(tmp_path, server):
    setting = Tracked(tmp_path / "reference", saving=SAVING)
    setting.train()
    rows = csv_rows(setting.folder)
    server.__init__()  # type: ignore[misc]
    setting = Tracked(tmp_path / "run", saving={"every_n_seconds": 1e9})
    with signals_raise(), suppress(Interrupted):
        setting.train(Kill("on_validation_batch_end", 1, signal.SIGTERM))
    counts = CountRows(server)
    setting.train(Snapshots(setting.folder, tmp_path / "copies"), counts)
    assert_one_curve(server, rows, "stopped in a validation")
    for moment in ("batch-6", "batch-8"):
        shutil.rmtree(setting.folder)
        shutil.copytree(tmp_path / "copies" / moment, setting.folder)
        server.cut(counts.counts[moment])
        setting.train()
        assert_one_curve(server, rows, moment)
        assert_tensorboard_has(setting.folder, rows, moment)


def test_4935_trackers_hold_config_tags_scores_rate_and_images(tmp_path, server):
    setting = Tracked(tmp_path / "run")
    setting.train(ConfusionMatrix(every_n_seconds=0))
    assert server.config == CONFIG
    assert server.tags == {"a"}
    rows = csv_rows(setting.folder)
    accuracies = [row["val/accuracy"] for row in rows if "val/accuracy" in row]
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    there = events(setting.folder)
    assert any(isinstance(row.get("confusion_matrix"), wandb.Image) for row in server.rows)
    assert "confusion_matrix" in there.Tags()["images"]
    text = there.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "depth: 3" in text
    for name, value in {
        "best/val/accuracy": max(accuracies),
        "last/val/accuracy": accuracies[-1],
        "best/val/loss": min(losses),
    }.items():
        assert there.Scalars(name)[-1].value == np.float32(value)
    assert [row["step"] for row in rows if "train/loss_step" in row] == [1, 3, 5, 7, 9]
    assert all("lr_step" in row for row in rows if "train/loss_step" in row)
    entry = read_id_file(setting.folder)
    assert entry is not None
    assert server.artifacts == [f"model-{entry['id']}"]


def served(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def test_tensorboards_server_shows_what_metrics_csv_has(tmp_path, server):
    setting = Tracked(tmp_path / "run", saving=SAVING)
    with suppress(PowerCut):
        setting.train(Cut(8))
    setting.train()
    board = program.TensorBoard(default.get_plugins())
    board.configure(argv=[None, "--logdir", str(tmp_path), "--port", "0", "--samples_per_plugin", "scalars=1000"])
    httpd = board._make_server()
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    api = f"{httpd.get_url()}data/plugin/scalars"
    try:
        run = str(Path("run") / "tensorboard")
        deadline = time.monotonic() + 60
        while run not in (tags := served(f"{api}/tags")) and time.monotonic() < deadline:  # it reads beside serving
            time.sleep(0.1)
        rows = csv_rows(setting.folder)
        names = {key for row in rows for key in row} - {"step", "epoch"}
        assert names <= tags[run].keys()
        for name in names:
            there = served(f"{api}/scalars?{urllib.parse.urlencode({'run': run, 'tag': name})}")
            curve = [(step, np.float32(value)) for _, step, value in there]
            assert curve == [(row["step"], np.float32(row[name])) for row in rows if name in row], name
    finally:
        httpd.shutdown()


def test_a_tracker_without_metrics_csv_is_refused(tmp_path, server):
    setting = Setting(tmp_path / "run")
    with pytest.raises(ValueError, match="WandbRun without MetricsCSV"):
        setting.train(Trackers(CONFIG), logger=WandbRun(save_dir=str(setting.folder)))


def test_without_a_tracker_metrics_are_as_before(tmp_path, server):
    Setting(tmp_path / "run").train(Trackers(CONFIG))
    assert not any("train/loss_step" in row for row in csv_rows(tmp_path / "run"))
    assert server.sessions == 0
