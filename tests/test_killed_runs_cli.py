"""The command, killed and resumed, and the ways to start it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.torture import same
from tests.quickstart import QUICKSTART, ROOT, SEQ2SEQ, SMALL

IMAGES = [
    *["--config", QUICKSTART, "--model.architecture.widths", "[8,8,8]", "--trainer.max_epochs", "3"],
    *["--model.tta", "none", "--data.augmentation.mixup_alpha", "0.2", "--data.augmentation.flip", "random"],
]


TEXTS = [
    *["--config", SEQ2SEQ, "--model.architecture.config.d_model", "32", "--model.architecture.config.d_ff", "64"],
    *["--model.architecture.config.dropout_rate", "0.1", "--data.tokenizer_model", "bpe", "--data.bpe_dropout", "0.1"],
    *["--data.task.num_train", "2000", "--data.batch_tokens", "1024", "--model.validation_examples", "20"],
    *["--trainer.accumulate_grad_batches", "2", "--trainer.max_epochs", "2"],
]


EMA = "trainer:\n  callbacks+:\n    - class_path: EMA\n      init_args: {decay: 0.9}\n"


def command(*args: str) -> list[str]:
    """The installed command: what pip has put beside the interpreter."""
    return [str(Path(sys.executable).with_name("oneforall")), *args]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.first
@pytest.mark.parametrize("recipe", [pytest.param(IMAGES, id="images"), pytest.param(TEXTS, id="texts")])
def test_killed_and_resumed_equals_never_interrupted(tmp_path, recipe):
    (tmp_path / "ema.yaml").write_text(EMA)
    often = ["--resume_checkpoint.every_n_steps", "5", "--resume_checkpoint.every_n_seconds", "1000"]
    fit = ["fit", *recipe, "--config", "ema.yaml", *often]
    subprocess.run(
        command(*fit, "--run_dir", "whole"), cwd=tmp_path, env=environment(), check=True, capture_output=True
    )

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command(*fit, "--run_dir", "killed"), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    last, previous = (killed / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    # For a moment both are names of one file, of which a disk would lose both
    while not (previous.exists() and not last.samefile(previous)) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    last.write_bytes(last.read_bytes()[:-1000])  # and the disk lost the end of the newest checkpoint

    resumed = subprocess.run(
        command(*fit, "--run_dir", "killed", "--resume"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "last.ckpt is damaged" in resumed.stderr
    assert (killed / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
    states = [
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True) for run in ("whole", "killed")
    ]
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert same(states[0][key], states[1][key]), key
    assert not same(states[0]["state_dict"], states[0]["current_model_state"])  # averaged and raw weights, both kept


def test_resume_starts_where_there_is_nothing_and_stops_where_all_is_done(oneforall, tmp_path):
    fit = ["fit", "--config", QUICKSTART, *SMALL, "--run_dir", "run", "--resume"]
    assert oneforall(*fit).code == 0
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    assert oneforall(*fit).code == 0
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
    assert not (tmp_path / "run-2").exists()


def test_resume_with_no_intact_checkpoint_refuses_to_start_again(oneforall, tmp_path, finished_run):
    shutil.copytree(finished_run, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(b"no checkpoint")
    outcome = oneforall("fit", "--config", QUICKSTART, *SMALL, "--run_dir", "run", "--resume")
    assert outcome.code == 2
    assert "intact" in outcome.last_line


def test_the_installed_command_explains_itself():
    outcome = subprocess.run(command("fit", "--help"), capture_output=True, text=True, env=environment())
    assert outcome.returncode == 0
    assert "--resume" in outcome.stdout
    assert "--run_dir" in outcome.stdout


def test_started_as_a_file_it_prints_no_deprecation_warnings():
    """As a module it is started in tests/commands/test_translate.py, with nothing on standard error."""
    outcome = subprocess.run(
        [
            sys.executable,
            "-W",
            "default::DeprecationWarning",
            "cli.py",
            "fit",
            "--config",
            QUICKSTART,
            "--print_config",
        ],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    assert outcome.returncode == 0
    assert "model:" in outcome.stdout
    assert "Deprecat" not in outcome.stderr, outcome.stderr
