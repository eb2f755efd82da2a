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
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
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
from tests.callbacks.run.stopped_run import Cut, PowerCut, Setting
from tests.callbacks.run.test_stopped_runs import Kill, Stop
from tests.callbacks.trackers.wandb_server import Server, Session
from utils.interruption import Interrupted, signals_raise

CONFIG = {"model": {"class_path": "TinyNet", "init_args": {"depth": 3}}, "seed_everything": 0}


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


@pytest.mark.parametrize("steps", [3, 4])  # one without and one with a row of its own at the last step
def test_13524_a_run_that_max_steps_ends_within_an_epoch_is_whole(tmp_path, server, steps):
    setting = Tracked(tmp_path / "run")
    setting.train(max_epochs=-1, max_steps=steps)
    rows = csv_rows(setting.folder)
    assert rows[-1]["step"] == steps - 1
    assert "train/loss" in rows[-1]
    assert_one_curve(server, rows, "max_steps")
    assert_tensorboard_has(setting.folder, rows, "max_steps")


def test_19728_a_run_that_max_time_ends_within_an_epoch_and_resumed_is_one_curve(tmp_path, server):
    saving = {"every_n_seconds": 1e9}
    reference = Tracked(tmp_path / "reference", saving=saving)
    reference.train()
    rows = csv_rows(reference.folder)
    for steps in (3, 4):
        server.__init__()  # type: ignore[misc]
        setting = Tracked(tmp_path / f"stopped at {steps}", saving=saving)
        setting.train(Stop(steps))
        assert "val/loss" in csv_rows(setting.folder)[-1]  # early: of the end, not of the epoch
        setting.train()
        assert csv_rows(setting.folder) == rows
        assert_one_curve(server, rows, f"stopped at {steps}")
        assert_tensorboard_has(setting.folder, rows, f"stopped at {steps}")


@pytest.mark.parametrize("rows_before", [0, 2])
@pytest.mark.parametrize("ends", [True, False])
def test_wandb_may_fail_while_a_run_trains_and_gets_the_rest_later(tmp_path, server, rows_before, ends):
    setting = Tracked(tmp_path / "run")
    server.is_down = lambda: len(server.rows) >= rows_before
    with (
        signals_raise(),
        suppress(Interrupted),
        pytest.warns(UserWarning, match="W&B has failed .Connection lost"),
    ):
        setting.train(*([] if ends else [Kill("on_train_batch_end", 6, signal.SIGUSR1)]))
    assert len(server.scalars()) == rows_before
    server.is_down = lambda: False
    setting.train()
    assert_one_curve(server, csv_rows(setting.folder), f"down after {rows_before}")


def test_wandb_that_fails_at_the_first_start_is_an_error_and_later_is_not(tmp_path, server, monkeypatch):
    def fail(**arguments: Any) -> None:
        raise wandb.Error("no such project")

    setting = Tracked(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "init", fail)
        with pytest.raises(wandb.Error, match="no such project"):
            setting.train()
    setting.train(Stop(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "init", fail)
        setting.train(max_epochs=3)
    setting.train(max_epochs=3)
    assert_one_curve(server, csv_rows(setting.folder), "a later start without W&B")


def test_20806_a_run_that_is_stopped_does_not_wait_for_an_upload(tmp_path, server, monkeypatch):
    monkeypatch.setattr("utils.time_limit.SECONDS", 0.1)
    monkeypatch.setattr(Session, "finish", lambda self, exit_code=0: exit_code and time.sleep(600))
    began = time.monotonic()
    with signals_raise(), pytest.raises(Interrupted):
        Tracked(tmp_path / "run").train(Kill("on_train_batch_end", 6, signal.SIGUSR1))
    assert time.monotonic() - began < 300


def test_20806_a_run_that_is_stopped_sends_no_weights(tmp_path, server):
    setting = Tracked(tmp_path / "run", saving={"every_n_seconds": 1e9})
    with signals_raise(), pytest.raises(Interrupted):
        setting.train(Kill("on_train_batch_end", 6, signal.SIGUSR1))
    assert (setting.folder / "checkpoints" / "best.ckpt").is_file()
    assert server.artifacts == []
    setting.train()
    assert len(server.artifacts) == 1


def test_between_the_logged_steps_nothing_is_computed_or_written(tmp_path):
    """A trainer that has nothing but what is needed to see that no step is logged, and one that logs it."""
    metrics = MetricsCSV(str(tmp_path))
    loggers = [metrics, TensorBoardLogger(str(tmp_path))]
    epoch_loop = SimpleNamespace(_batches_that_stepped=0, _should_accumulate=lambda: False)
    parts = {"fit_loop": SimpleNamespace(epoch_loop=epoch_loop), "loggers": loggers, "current_epoch": 0}
    trainer: Any = SimpleNamespace(is_global_zero=True, log_every_n_steps=2, **parts)
    trackers = Trackers(CONFIG)
    model: Any = None
    trackers.on_train_batch_end(trainer, model, None, None, 0)
    assert metrics.rows == []
    epoch_loop._batches_that_stepped = 1
    trainer.callback_metrics = {"train/loss": torch.tensor(2.0)}
    trackers.on_train_batch_end(trainer, model, None, None, 1)
    assert [row["train/loss_step"] for row in metrics.rows] == [2.0]
    assert not metrics.path.exists()
    epoch_loop._batches_that_stepped, keeps = 3, SimpleNamespace(latest={"train/loss": torch.tensor(5.0)})
    trackers.on_train_batch_end(trainer, keeps, None, None, 3)  # type: ignore[arg-type]
    assert metrics.rows[-1]["train/loss_step"] == 5.0
    keeps = SimpleNamespace(latest={"train/bits_per_character": torch.tensor(1.5)})
    trackers._rate = 0.25
    trackers.on_train_batch_end(trainer, keeps, None, None, 3)  # type: ignore[arg-type]
    assert metrics.rows[-1]["train/bits_per_character_step"] == 1.5
    assert metrics.rows[-1]["lr_step"] == 0.25
    number = len(metrics.rows)
    trainer.log_every_n_steps = 0  # never
    trackers.on_train_batch_end(trainer, keeps, None, None, 3)  # type: ignore[arg-type]
    assert len(metrics.rows) == number
    trainer.is_global_zero = False
    del trainer.callback_metrics
    trackers.on_train_batch_end(trainer, model, None, None, 1)


def test_tables_are_sent_with_the_next_row_and_none_is_lost(tmp_path, server):
    def log(name: str, step: int | None) -> None:
        run.log_text(name, columns=["text"], data=[[name]], step=step)

    def tables() -> list[list[str]]:
        """Names of the tables of each row, which have their own names as content."""
        found = [{name: value for name, value in row.items() if isinstance(value, wandb.Table)} for row in server.rows]
        assert all(value.data == [[name]] for row in found for name, value in row.items())
        return [sorted(row) for row in found]

    run = WandbRun(save_dir=str(tmp_path))
    run.start({})
    log("at 1", 1)
    run.send([], before=2, scores={})
    log("at 3", 3)
    log("at 4", 4)
    log("at 6", 6)
    log("nowhere", None)
    log("at 7", 7)
    run.send([{"step": 2, "x": 0.0}, {"step": 3, "x": 0.0}, {"step": 5, "x": 0.0}], before=7, scores={})
    assert tables() == [["at 1"], ["at 3"], ["at 4", "at 6", "nowhere"]]
    log("not covered", 8)
    run.send([], before=8, scores={})
    run.finalize("failed")
    assert tables()[3:] == [["at 7"]]


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
    rates = [row["lr_step"] for row in rows if "train/loss_step" in row]
    rising, falling = [0.2 + 0.8 * 1 / 2.5], [1 - (step - 2.5) / 7.5 for step in (3, 5, 7, 9)]  # OneCycle, 10 steps
    assert rates == pytest.approx([0.2 * factor for factor in rising + falling])
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
