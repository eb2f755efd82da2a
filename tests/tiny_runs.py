"""Runs of seconds, of an image classifier and of a text-to-text model, for tests that use a finished one."""

import sys
from pathlib import Path

import pytest

import cli

CONFIGS = Path(__file__).parents[1] / "configs" / "quickstart"
TRAINING = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"]
TASK = ["--data.task.num_train", "64", "--data.task.num_val", "8", "--data.task.num_test", "8"]
NETWORK = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}


def command(*args: str, folder: Path | None = None) -> None:
    """Run the command line in this process, in a folder if one is given."""
    with pytest.MonkeyPatch.context() as patch:
        if folder is not None:
            patch.chdir(folder)
        patch.setattr(sys, "argv", ["oneforall", *args])
        cli.main(list(args))


def fit(*args: str, folder: Path) -> Path:
    """Return the folder of a run with these arguments."""
    command("fit", *args, *TRAINING, "--run_dir", str(folder))
    return folder


def train_images(folder: Path) -> Path:
    """Return the folder of a run on the digits."""
    return fit("--config", str(CONFIGS / "images.yaml"), "--model.architecture.widths", "[4,4,4]", folder=folder)


def train_texts(folder: Path, prefix: str = "date: ") -> Path:
    """Return the folder of a run on dates, which have a prefix."""
    network = [word for name, size in NETWORK.items() for word in (f"--model.architecture.config.{name}", str(size))]
    text = ["--data.task.prefix", prefix, "--model.max_length", "12", *network, *TASK]
    return fit("--config", str(CONFIGS / "seq2seq.yaml"), *text, folder=folder)
