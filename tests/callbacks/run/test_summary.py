import json
import re
import shlex

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from callbacks.run.summary import Summary, repeatable, with_own_config
from callbacks.run.test_metrics import TestMetrics
from tests.callbacks.fakes import timed_model
from utils.machine import commit

FIT = ["fit", "--config", "my file.yaml"]


def summary(clock):
    callback = Summary()
    callback.times.clock = clock
    return callback


@pytest.fixture
def timed(tiny_classifier):
    return timed_model(tiny_classifier, validation_seconds=1)


def test_fit_and_test_fill_the_summary(make_trainer, tiny_data, timed, tmp_path, monkeypatch):
    clock, model = timed
    monkeypatch.setattr("sys.argv", ["/somewhere/oneforall", *FIT, "--resume"])
    (tmp_path / "config.yaml").write_text(
        "seed_everything: 1\nmodel:\n  class_path: Net\ntrainer:\n  precision: 32-true\n  max_steps: null\n"
        "  callbacks:\n  - class_path: Summary\nrun_dir: null\n"
    )
    seen = []

    class Peek(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.append((tmp_path / "summary.md").read_text())

    logger = CSVLogger(tmp_path, name="", version="")
    trainer = make_trainer(Peek(), summary(clock), logger=logger, max_epochs=3, log_every_n_steps=1)
    trainer.fit(model, tiny_data())
    assert "Training is in progress." in seen[0]
    assert "## Model" in seen[0]
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith(f"# {tmp_path.name}\n\nTraining ended after 3 of 3 epochs.")
    # 3 epochs of 3 training batches (2 s) and 3 validation batches (1 s); 30 images in 18 s
    assert "| time | 27.0 s, including 9.0 s of validation |" in text
    assert "| throughput | 2 images/s in training |" in text
    assert "| steps | 9 optimizer steps, 30 images seen |" in text
    assert "| val/accuracy | 1.0000 | 1.0000 | 1 |" in text
    # 3 -> 4 convolution (112), norm (8), 256 -> 3 linear (771)
    assert "Sequential: 891 parameters, 891 trainable; 7,680 multiply-adds per 8x8 image" in text
    assert "oneforall fit --config 'my file.yaml'\n" in text
    assert shlex.join(["oneforall", "fit", "--config", f"{tmp_path}/config.yaml"]) + "\n" in text
    config = re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1)
    assert config == "seed_everything: 1\nmodel:\n  class_path: Net\ntrainer:\n  precision: 32-true\n"

    assert "| limits |" not in text

    record = json.loads((tmp_path / "run.json").read_text())
    expected = {
        "command": "oneforall fit --config 'my file.yaml'",
        "state": "Training ended after 3 of 3 epochs.",
        "ended": True,
        "trainable": 891,
        "input_size": 8,
        "parameters": 891,
        "multiply_adds": 7680,
        "epochs": 3,
        "steps": 9,
    }
    assert expected.items() <= record.items()
    assert record["throughput"] == pytest.approx(30 / 18)
    assert (record["seconds"], record["validation_seconds"], record["examples"]) == (27, 9, 30)
    assert record["epoch_seconds"] == {"1": 9, "2": 18, "3": 27}  # each with its validation
    assert record["versions"]["torch"] == torch.__version__
    assert record["commits"] == [commit() or "unknown"]
    assert f"| commit | {record['commits'][0]} |" in text

    make_trainer(summary(clock), TestMetrics(), precision="bf16-mixed").test(model, tiny_data(), verbose=False)
    tested = (tmp_path / "summary.md").read_text()
    section = re.compile(r"<!-- test -->.*<!-- end of test -->", flags=re.DOTALL)
    assert "| test/accuracy | 1.0000 |" in section.search(tested).group()
    assert "precision bf16-mixed" in section.search(tested).group()
    assert "| precision | 32-true |" in tested  # of the training
    assert section.sub("<!-- test --><!-- end of test -->", tested) == text
    # Another fit in the folder leaves the section
    make_trainer(summary(clock), limit_train_batches=1, limit_val_batches=0.5).fit(model, tiny_data())
    refitted = (tmp_path / "summary.md").read_text()
    assert section.search(refitted).group() == section.search(tested).group()
    assert "| limits | limit_train_batches 1, limit_val_batches 0.5 |" in refitted


def test_the_examples_are_those_of_all_processes(make_trainer, tiny_data, timed, tmp_path):
    clock, model = timed
    trainer = make_trainer(summary(clock), max_epochs=2, limit_val_batches=0)
    trainer.strategy.world_size = 2  # of which this is the only one that runs
    trainer.fit(model, tiny_data())
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["examples"] == 2 * 2 * 10
    assert record["throughput"] == pytest.approx(40 / 12)  # 2 epochs of 3 batches of 2 s
    assert [line.split(",")[-1] for line in (tmp_path / "throughput.csv").read_text().split()] == ["images", "20", "20"]


@pytest.mark.parametrize(
    "where", ["--run_dir a", "--run_dir=a", "--resume", "--resume true", "--resume=true", "--run_dir a --resume true"]
)
def test_the_command_makes_another_run(where):
    after = ["--trainer.max_steps", "-1", "--name", "x"]
    assert repeatable([*FIT, *where.split(), *after]) == [*FIT, *after]
    assert repeatable([*FIT, *where.split()]) == FIT


def test_a_command_that_took_its_config_from_the_run_folder_names_it():
    assert with_own_config(["fit", "--trainer.max_epochs", "60"], "runs/x") == [
        *("fit", "--config", "runs/x/config.yaml", "--trainer.max_epochs", "60")
    ]
    for given in (["fit", "--config=a.yaml"], ["fit", "--ckpt_path", "a.ckpt"], ["fit", "-c", "a.yaml"]):
        assert with_own_config(given, "runs/x") == given


def test_time_adds_up_over_a_resume(make_trainer, tiny_data, timed, tmp_path, monkeypatch):
    clock, model = timed

    class BreakInEpoch2(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "a.ckpt")
            if trainer.global_step == 5:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(summary(clock), BreakInEpoch2(), max_epochs=2).fit(model, tiny_data())
    assert "Training was interrupted after 1 of 2 epochs (RuntimeError)." in (tmp_path / "summary.md").read_text()
    assert not json.loads((tmp_path / "run.json").read_text())["ended"]
    clock.now += 5000
    monkeypatch.setattr("callbacks.run.summary.commit", lambda: "another")
    # Step 4 was saved after 3 x 2 + 3 + 2 = 11 s, 3 of them validation, and 10 + 4 images. Two batches of 2 s remain,
    # of 4 images each since this loader starts again, and a validation of 3 s
    make_trainer(summary(clock), max_epochs=2).fit(model, tiny_data(), ckpt_path=str(tmp_path / "a.ckpt"))
    text = (tmp_path / "summary.md").read_text()
    assert "| time | 18.0 s, including 6.0 s of validation |" in text
    assert "| steps | 6 optimizer steps, 22 images seen |" in text
    assert "interrupted" not in text
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["epoch_seconds"] == {"1": 9, "2": 18}
    assert record["commits"] == [commit() or "unknown", "another"]
