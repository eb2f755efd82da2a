"""Three runs of the real command on one GPU at tolerance zero: never interrupted, killed, and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.torture import same

ROOT = Path(__file__).parents[2]
ACCELERATOR = "gpu"

IMAGES = [
    *["--config", "quickstart/images.yaml", "--trainer.max_epochs", "6", "--trainer.precision", "bf16-mixed"],
    *["--data.augmentation.mixup_alpha", "0.2", "--data.augmentation.flip", "random"],
]
TEXTS = [
    *["--config", "quickstart/seq2seq.yaml", "--trainer.max_epochs", "2", "--trainer.precision", "bf16-mixed"],
    *["--model.architecture.config.dropout_rate", "0.1", "--data.tokenizer_model", "bpe", "--data.bpe_dropout", "0.1"],
    *["--data.task.num_train", "4000", "--data.batch_tokens", "2048", "--model.validation_examples", "50"],
    *["--trainer.accumulate_grad_batches", "2"],
]
CHARACTERS = [
    *["--config", "char_rnn.yaml", "--trainer.max_epochs", "2", "--data.path", "text.txt"],
    *["--model.architecture.hidden_size", "64", "--data.batch_size", "16", "--data.sequence_length", "50"],
]
EMA = "trainer:\n  callbacks+:\n    - class_path: EMA\n      init_args: {decay: 0.9}\n"
OFTEN = ["--resume_checkpoint.every_n_steps", "5", "--resume_checkpoint.every_n_seconds", "1000"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ACCELERATOR == "gpu" and not torch.cuda.is_available(), reason="needs a GPU"),
]


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    """Starts the command in `folder`, with everything that it prints in one file per run."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def steps_in(checkpoint: Path) -> int:
    """Returns the number of optimizer steps in a checkpoint; 0 while there is none."""
    return (
        int(torch.load(checkpoint, weights_only=True, map_location="cpu")["global_step"]) if checkpoint.exists() else 0
    )


def ended_well(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]


@pytest.mark.parametrize(
    ("recipe", "sent", "code"),
    [
        pytest.param(IMAGES, signal.SIGKILL, -signal.SIGKILL, id="images"),
        pytest.param(TEXTS, signal.SIGTERM, 143, id="texts"),
        pytest.param(CHARACTERS, signal.SIGKILL, -signal.SIGKILL, id="characters"),
    ],
)
def test_stopped_and_resumed_equals_never_interrupted(
    tmp_path: Path, recipe: list[str], sent: signal.Signals, code: int
) -> None:
    (tmp_path / "ema.yaml").write_text(EMA)
    (tmp_path / "text.txt").write_text("".join(chr(97 + (i * i + i // 7) % 26) for i in range(40_000)))
    fit = ["fit", *recipe, "--config", "ema.yaml", *OFTEN, "--trainer.accelerator", ACCELERATOR]
    fit += ["--trainer.devices", "1", "--trainer.deterministic", "true"]
    whole, killed = start(tmp_path, *fit, "--run_dir", "whole"), start(tmp_path, *fit, "--run_dir", "killed")

    last, deadline = tmp_path / "killed" / "checkpoints" / "last.ckpt", time.monotonic() + 240
    while killed.poll() is None and time.monotonic() < deadline and steps_in(last) < 10:
        time.sleep(0.02)
    killed.send_signal(sent)
    output, _ = killed.communicate()
    assert killed.returncode == code, f"the run was not stopped on its way: {output[-3000:]}"
    ended_well(start(tmp_path, *fit, "--run_dir", "killed", "--resume"))
    ended_well(whole)

    tables = [(tmp_path / run / "metrics.csv").read_text() for run in ("whole", "killed")]
    assert tables[0] == tables[1]
    states = [
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
        for run in ("whole", "killed")
    ]
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert same(states[0][key], states[1][key]), key
    assert states[0]["global_step"] > 20  # so that something was left to train after the kill


def test_a_training_that_diverges_names_the_step_and_saves_no_such_weights(tmp_path: Path) -> None:
    fit = ["fit", *IMAGES, "--trainer.accelerator", ACCELERATOR, "--trainer.devices", "1", "--run_dir", "run"]
    process = start(tmp_path, *fit, "--model.optimizer.lr", "1e30", "--resume_checkpoint.every_n_steps", "1")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output[-3000:]
    assert "step" in output.splitlines()[-1]
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    assert all(value.isfinite().all() for value in saved["state_dict"].values() if value.is_floating_point())
