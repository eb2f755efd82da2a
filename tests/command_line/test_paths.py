"""`~` is the home folder wherever a path begins with it, and a run folder stands for its best checkpoint."""

from pathlib import Path

import pytest
from jsonargparse import Namespace

from command_line.paths import (
    checkpoint_file,
    empty_path,
    expand_flags,
    expand_home,
    path_argument,
    with_checkpoint_files,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_home_is_expanded_at_any_depth_of_a_config(home: Path) -> None:
    inner = Namespace(root="~/photos", files=["~/a.txt", {"b": "~/b"}], number=3, text="a ~/b")
    expanded = expand_home(Namespace(data=inner, ckpt_path="~/run"))
    assert expanded.data.root == f"{home}/photos"
    assert expanded.data.files == [f"{home}/a.txt", {"b": f"{home}/b"}]
    assert (expanded.data.number, expanded.data.text) == (3, "a ~/b")
    assert expanded.ckpt_path == f"{home}/run"


def test_other_tildes_stay(home: Path) -> None:
    for text in ("~", "~5 epochs", "~no_such_user_of_this_machine/x", "x~/y"):
        assert expand_home(text) == text


def test_an_empty_path_is_found_beside_empty_texts() -> None:
    assert empty_path(["fit", "--data.root", ""]) == "--data.root"
    assert empty_path(["predict", "--data.task.prefix", "", "--output", "x", "--output="]) == "--output"
    assert empty_path(["fit", "--data.task.prefix", "", "--run_dir", "x", "--resume"]) is None
    with pytest.raises(ValueError, match="--ckpt_path: the path is empty"):  # there may be checkpoints in this folder
        checkpoint_file("")


def test_home_is_expanded_in_the_arguments_of_commands(home: Path) -> None:
    assert path_argument("~/runs/x") == f"{home}/runs/x"


def test_home_is_expanded_in_flags(home: Path) -> None:
    args = ["predict", "--run_dir=~/x", "--data.predict_path", "~/photos", "--name=a=~/b"]
    assert expand_flags(args) == [
        *["predict", f"--run_dir={home}/x", "--data.predict_path", f"{home}/photos", "--name=a=~/b"]
    ]


def test_a_run_folder_stands_for_its_best_checkpoint_or_else_the_last(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"run is a folder without checkpoints/best\.ckpt"):
        checkpoint_file(str(run))
    for name in ("last.ckpt", "best.ckpt"):
        (run / "checkpoints" / name).touch()
        assert checkpoint_file(str(run)) == str(run / "checkpoints" / name)
        assert checkpoint_file(str(run / "checkpoints")) == str(run / "checkpoints" / name)
    best = str(run / "checkpoints/best.ckpt")
    assert with_checkpoint_files(["test", "--ckpt_path", str(run)]) == ["test", "--ckpt_path", best]
    assert with_checkpoint_files(["test", f"--ckpt_path={run}", "--x"]) == ["test", f"--ckpt_path={best}", "--x"]
    assert with_checkpoint_files(["test", "--ckpt_path"]) == ["test", "--ckpt_path"]
    assert checkpoint_file("nowhere.ckpt") == "nowhere.ckpt"  # what reads it will say so
