"""Which trackers a run folder has, and what a test gives them."""

import json

import pytest
import wandb
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from callbacks.plots.confusion_matrix import ConfusionMatrix
from callbacks.run.test_metrics import TestMetrics
from callbacks.trackers.test_figures import TestFigures, trackers_in
from callbacks.trackers.wandb_run import WandbRun

ENTRY = {"id": "abc", "project": "one-for-all", "offline": False}


@pytest.fixture
def no_login(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks for something"))
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("it starts a run"))


def write_entry(folder, text):
    (folder / "wandb").mkdir(exist_ok=True)
    (folder / "wandb" / "run.json").write_text(text)


def run_test(make_trainer, tiny_data, tiny_classifier):
    trainer = make_trainer(ConfusionMatrix(), TestMetrics(), TestFigures())
    trainer.test(tiny_classifier(class_names=["a", "b", "c"]), tiny_data(), verbose=False)


def test_a_test_without_a_login_sends_nothing_and_says_so(
    make_trainer, tiny_data, tiny_classifier, no_login, tmp_path, capsys
):
    write_entry(tmp_path, json.dumps(ENTRY))
    run_test(make_trainer, tiny_data, tiny_classifier)
    assert "not sent to W&B: there is no API key; run `wandb login`" in capsys.readouterr().out
    assert (tmp_path / "test_metrics.json").is_file()


@pytest.mark.parametrize(
    "text", ["{", "[]", json.dumps({**ENTRY, "id": "../../x"}), json.dumps({**ENTRY, "offline": "no"}), '{"id": 1}']
)
def test_a_strangers_id_file_is_data(no_login, tmp_path, capsys, text):
    write_entry(tmp_path, text)
    assert trackers_in(tmp_path) == []
    assert "run.json does not name a run of W&B" in capsys.readouterr().out


def test_a_strangers_id_file_names_no_account_and_no_server(no_login, tmp_path):
    more = {"entity": "stranger", "base_url": "https://example.com", "settings": {"api_key": "x"}, "offline": True}
    write_entry(tmp_path, json.dumps({**ENTRY, **more}))
    (tracker,) = trackers_in(tmp_path)
    assert isinstance(tracker, WandbRun)
    assert tracker.version == "abc"
    assert not {"entity", "base_url", "settings"} & {name for name, value in tracker._wandb_init.items() if value}


def test_figures_and_plots_of_a_test_reach_tensorboard(make_trainer, tiny_data, tiny_classifier, tmp_path):
    (tmp_path / "tensorboard").mkdir()
    run_test(make_trainer, tiny_data, tiny_classifier)
    there = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    record = json.loads((tmp_path / "test_metrics.json").read_text())
    assert there.Scalars("test/accuracy")[0].value == pytest.approx(record["test/accuracy"])
    assert there.Tags()["images"] == ["test/confusion_matrix"]


def test_a_folder_without_trackers_has_none(tmp_path):
    assert trackers_in(tmp_path) == []
    (tmp_path / "tensorboard").mkdir()
    (tracker,) = trackers_in(tmp_path)
    assert isinstance(tracker, TensorBoardLogger)
    assert tracker.log_dir == str(tmp_path / "tensorboard")
