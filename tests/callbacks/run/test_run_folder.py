import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule

from callbacks.run.run_folder import (
    RUN_DIR_VARIABLE,
    RunFolder,
    claim_folder,
    earlier_config_files,
    evaluation_folder,
    newest_predictions,
    next_config_file,
    release_folder,
    training_folder,
    weights_in,
)
from utils.checkpoints import read_config


def test_a_new_run_gets_the_folder_it_wants(tmp_path):
    wanted = tmp_path / "runs" / "name"
    assert claim_folder(wanted, numbered=True) == wanted
    assert wanted.is_dir()


def test_17115_11158_a_taken_folder_is_numbered_and_left_alone(tmp_path):
    wanted = tmp_path / "name"
    wanted.mkdir()
    (wanted / "metrics.csv").write_text("mine")
    assert [claim_folder(wanted, numbered=True).name for _ in range(3)] == ["name-2", "name-3", "name-4"]
    assert [path.name for path in wanted.iterdir()] == ["metrics.csv"]
    assert (wanted / "metrics.csv").read_text() == "mine"


def test_a_taken_run_dir_is_an_error(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(FileExistsError, match=rf"{tmp_path} is taken.*--resume.*--run_dir"):
        claim_folder(tmp_path, numbered=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="file"):
        claim_folder(tmp_path / "file", numbered=False)


def test_an_empty_folder_is_free(tmp_path):
    assert claim_folder(tmp_path, numbered=False) == tmp_path


def test_runs_that_start_at_once_get_a_folder_each(tmp_path):
    start, folders = threading.Barrier(8), []

    def claim() -> None:
        start.wait()
        folders.append(claim_folder(tmp_path / "name", numbered=True))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {folder.name for folder in folders} == {"name", *(f"name-{number}" for number in range(2, 9))}


def test_what_was_claimed_is_taken_before_anything_is_written(tmp_path):
    """The run that claimed it may still be loading its data."""
    assert claim_folder(tmp_path / "a", numbered=True) == tmp_path / "a"
    assert claim_folder(tmp_path / "a", numbered=True) == tmp_path / "a-2"
    with pytest.raises(FileExistsError):
        claim_folder(tmp_path / "a", numbered=False)


def test_a_released_folder_is_free_again(tmp_path):
    folder = claim_folder(tmp_path / "a", numbered=True)
    (folder / "config.yaml").write_text("model: null")
    (folder / "summary.md").write_text("")
    (folder / "run.json").write_text("{}")
    (folder / "metrics.csv").write_text("epoch,step\n")  # also written before the first step
    (folder / "checkpoints").mkdir()
    for name in ("tensorboard/events.out.tfevents.1", "tensorboard/hparams.yaml", "wandb/run-1/files/wandb.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    release_folder(folder)
    assert not folder.exists()
    release_folder(folder)  # no longer there: nothing to do


def test_release_ends_a_run_of_wandb_before_its_files_go(tmp_path, monkeypatch):
    ended = []
    finish = SimpleNamespace(finish=lambda exit_code: ended.append((exit_code, tmp_path.exists())))
    monkeypatch.setitem(sys.modules, "wandb", finish)
    release_folder(tmp_path)
    assert ended == [(1, True)]
    assert not tmp_path.exists()


def test_release_keeps_what_a_run_has_written(tmp_path):
    for name in ("curves.png", "checkpoints/last.ckpt", "samples.md", "mine/wandb/notes.txt"):
        folder = claim_folder(tmp_path / name.replace("/", "-"), numbered=False)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
        (folder / "config.yaml").write_text("")
        release_folder(folder)
        assert (folder / name).exists()
        assert (folder / "config.yaml").exists()


def test_a_training_claims_its_folder_or_continues_in_it(tmp_path, monkeypatch):
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    wanted = tmp_path / "a"
    assert training_folder(wanted, resume=False, numbered=True) == (wanted, True)
    assert training_folder(wanted, resume=False, numbered=True) == (tmp_path / "a-2", True)
    assert os.environ[RUN_DIR_VARIABLE] == str(tmp_path / "a-2")
    assert training_folder(wanted, resume=True, numbered=True) == (wanted, False)
    monkeypatch.setattr("callbacks.run.run_folder.rank_zero_only.rank", 1)  # started by the process that chose
    monkeypatch.setenv(RUN_DIR_VARIABLE, str(tmp_path / "theirs"))
    assert training_folder(wanted, resume=False, numbered=True) == (tmp_path / "theirs", False)
    assert not (tmp_path / "theirs").exists()
    assert not (tmp_path / "a-3").exists()


def test_only_what_is_there_is_listed(tmp_path):
    assert weights_in(tmp_path) == []
    assert newest_predictions(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    for name in ("tokenizer.json", "notes.txt", "predictions.csv", "predictions.txt", "checkpoints/last.ckpt"):
        (tmp_path / name).write_text("")
    assert [path for path, _ in weights_in(tmp_path)] == [tmp_path / "checkpoints" / "last.ckpt"]
    for newest, older in (("csv", "txt"), ("txt", "csv")):
        os.utime(tmp_path / f"predictions.{older}", (1, 1))
        os.utime(tmp_path / f"predictions.{newest}", (2, 2))
        assert newest_predictions(tmp_path) == tmp_path / f"predictions.{newest}"


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/runs.*--run_dir"):
        claim_folder(tmp_path / "file" / "runs" / "name", numbered=True)


def test_evaluation_writes_into_the_folder_of_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = "runs/a/checkpoints/best.ckpt"
    assert evaluation_folder(None, checkpoint) == Path("runs/a")
    assert evaluation_folder(None, "elsewhere/best.ckpt") == Path("elsewhere")
    assert evaluation_folder(Path("deep/dir"), checkpoint) == Path("deep/dir")
    assert Path("deep/dir").is_dir()


def test_the_config_is_kept_in_the_folder_and_in_each_checkpoint(make_trainer, tiny_classifier, tiny_data, tmp_path):
    config = {"model": {"class_path": "Ünïcode", "depth": 18}, "seed": None, "list": [1, 2.5, True]}
    trainer = make_trainer(RunFolder(config), max_steps=1)
    trainer.fit(tiny_classifier(), datamodule=tiny_data())
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config
    assert list(yaml.safe_load((tmp_path / "config.yaml").read_text())) == list(config)  # not sorted
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert checkpoint["config"] == config
    assert read_config(tmp_path / "a.ckpt") == config  # its format is this version's


def test_an_evaluation_leaves_the_config_alone(make_trainer, tiny_classifier, tiny_data, tmp_path):
    (tmp_path / "config.yaml").write_text("of the training")
    make_trainer(RunFolder({"of": "test"})).test(tiny_classifier(), datamodule=tiny_data(), verbose=False)
    assert (tmp_path / "config.yaml").read_text() == "of the training"


def test_4366_processes_that_resume_from_different_files_are_named(make_trainer, tmp_path, monkeypatch):
    """A node whose file system is behind still has the checkpoint of before."""
    (tmp_path / "last.ckpt").write_bytes(b"new")
    trainer = make_trainer()
    trainer.ckpt_path = tmp_path / "last.ckpt"
    monkeypatch.setattr("callbacks.run.run_folder.gather_parts", lambda mine: [mine, mine])
    RunFolder({}).setup(trainer, LightningModule(), "fit")
    monkeypatch.setattr("callbacks.run.run_folder.gather_parts", lambda mine: [mine, mine, ("previous.ckpt", 3, 1)])
    with pytest.raises(ValueError, match=r"rank 0 resumes from last\.ckpt, but rank 2 from previous\.ckpt"):
        RunFolder({}).setup(trainer, LightningModule(), "fit")


def test_predictions_cannot_go_to_a_folder(tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(IsADirectoryError, match=r"--output .*here is a folder: specify a file"):
        evaluation_folder(None, "runs/a/checkpoints/best.ckpt", str(tmp_path / "here"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^--output: folder .*file cannot be created .*; choose another with --output$"):
        evaluation_folder(None, "best.ckpt", str(tmp_path / "file" / "out.csv"))


def test_predictions_go_through_a_named_pipe_but_not_into_one_between_programs(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # as /dev is to most users
    assert evaluation_folder(tmp_path / "a", "best.ckpt", str(tmp_path / "fifo")) == tmp_path / "a"
    ends = os.pipe()
    with pytest.raises(OSError, match=r"--output /dev/fd/\d+ leads to a pipe: specify a file"):
        evaluation_folder(tmp_path / "a", "best.ckpt", f"/dev/fd/{ends[1]}")
    for end in ends:
        os.close(end)


def test_7679_an_earlier_config_is_kept_under_a_number(make_trainer, tiny_classifier, tiny_data, tmp_path):
    for lr in (1, 2, 2, 3):
        make_trainer(RunFolder({"lr": lr})).fit(tiny_classifier(), datamodule=tiny_data())
    assert {path.name: path.read_text() for path in tmp_path.glob("config*")} == {
        "config-1.yaml": "lr: 1\n",
        "config-2.yaml": "lr: 2\n",
        "config.yaml": "lr: 3\n",
    }
    for number in range(3, 12):
        assert next_config_file(tmp_path) == tmp_path / f"config-{number}.yaml"
        next_config_file(tmp_path).touch()
    assert [path.name for path in earlier_config_files(tmp_path)] == [
        f"config-{number}.yaml" for number in range(1, 12)
    ]


def test_nothing_is_written_if_training_does_not_begin(make_trainer, tiny_classifier, tiny_data, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("of: before\n")

    class Fail(Callback):
        def on_fit_start(self, trainer, pl_module):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        make_trainer(RunFolder({"of": "now"}, ["lr 1 -> 2"]), Fail()).fit(tiny_classifier(), datamodule=tiny_data())
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "of: before\n"
    assert "changes" not in capsys.readouterr().out
