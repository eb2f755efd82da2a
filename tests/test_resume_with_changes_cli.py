"""`--resume` with another config: refused by name with nothing written, or applied, listed and recorded."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tests.tiny_runs import command

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "configs/quickstart/images.yaml")
FIT = [
    *["fit", "--config", QUICKSTART, "--model.architecture.widths", "[8,8,8]", "--trainer.limit_train_batches", "2"],
    *["--trainer.max_epochs", "1", "--run_dir", "run"],
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run of one epoch, shared by the tests, which copy it."""
    folder = tmp_path_factory.mktemp("finished")
    command(*FIT, folder=folder)
    return folder


@pytest.fixture
def run_folder(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "run", "run")
    return Path("run")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def config_of(folder: Path, name: str = "config.yaml") -> dict:
    return yaml.safe_load((folder / name).read_text())


MORE = ["--trainer.max_epochs", "2", "--resume"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", "0.001"], "model.optimizer Muon -> AdamW"),
        (["--data.validation_size", "400"], "data.validation_size 180 -> 400 (training examples"),
        (["--seed_everything", "1"], "seed_everything 0 -> 1"),
        (["--model.architecture.widths", "[8,8,16]"], "model.architecture.widths [8, 8, 8] -> [8, 8, 16]"),
    ],
)
@pytest.mark.parametrize("how", [["--resume"], ["--ckpt_path", "run/checkpoints/last.ckpt", "--run_dir", "other"]])
def test_a_refused_resume_leaves_every_file_as_it_was(oneforall, run_folder, flags, words, how):
    before = content(run_folder)
    outcome = oneforall(*FIT, "--trainer.max_epochs", "2", *how, *flags)
    assert outcome.code == 2
    assert words in outcome.last_line
    assert "--model.init_from run/checkpoints/last.ckpt" in outcome.last_line
    assert content(run_folder) == before
    assert not Path("other").exists()


def test_a_resume_that_fails_later_leaves_every_file_as_it_was(oneforall, run_folder):
    """The weights are of another network than the config in the checkpoint says."""
    last = run_folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    del checkpoint["state_dict"][name], checkpoint["digests"][name]
    torch.save(checkpoint, last)
    before = content(run_folder)
    outcome = oneforall(*FIT, *MORE, "--model.optimizer.lr", "0.01")
    assert outcome.code == 2
    assert "missing" in outcome.last_line
    assert content(run_folder) == before


def test_what_changes_is_used_listed_and_recorded(oneforall, run_folder):
    before = config_of(run_folder)
    outcome = oneforall(*FIT, *MORE, "--model.optimizer.lr", "0.01", "--model.schedule", "Constant")
    assert outcome.code == 0
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("resuming with changes: ")]
    for change in (
        "trainer.max_epochs 1 -> 2",
        "model.optimizer.lr 0.1 -> 0.01",
        "model.schedule OneCycle -> Constant",
    ):
        assert change in line
    with (run_folder / "metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert rates[1] == pytest.approx(0.01)
    used = config_of(run_folder)
    assert used["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.01
    assert torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)["config"] == used
    assert config_of(run_folder, "config-1.yaml") == before
    summary = (run_folder / "summary.md").read_text()
    assert (
        "## Changes on resuming\n\n- config.yaml: trainer.max_epochs 1 -> 2; model.optimizer.lr 0.1 -> 0.01" in summary
    )

    outcome = oneforall(*FIT, *MORE, "--model.optimizer.lr", "0.5", "--model.schedule", "Constant")  # all is done
    assert outcome.code == 0
    assert config_of(run_folder) == used
    assert (run_folder / "summary.md").read_text() == summary
    assert not (run_folder / "config-2.yaml").exists()


def test_16014_a_folder_with_its_config_needs_no_other(oneforall, run_folder):
    outcome = oneforall("fit", "--run_dir", "run", *MORE, "--data.batch_size", "32")
    assert outcome.code == 0
    changes = next(line for line in outcome.out.splitlines() if line.startswith("resuming with changes: "))
    assert "trainer.max_epochs 1 -> 2 (" in changes
    assert "data.batch_size 64 -> 32 (" in changes
    assert changes.count(" -> ") == 2
    assert config_of(run_folder)["model"]["init_args"]["architecture"]["init_args"]["widths"] == [8, 8, 8]
    assert oneforall("fit", "--run_dir", "run", "--resume").code == 0
    assert not (run_folder / "config-2.yaml").exists()
