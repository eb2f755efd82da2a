"""A run folder as `fit` and `test` leave it becomes a folder of results/, and a row of its table."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from scripts.release_checkpoints import main as release
from scripts.results.collect import main, network_name
from scripts.results.runs import read_run
from scripts.results.tables import content
from tests.scripts.results.published import RECORD

WRITTEN = {key: value for key, value in RECORD.items() if key not in ("table", "row", "seed", "data")}
CONFIG = """seed_everything: 3
model:
  init_args:
    architecture:
      class_path: architectures.resnet.ResNet
      init_args: {depth: 20}
data:
  init_args: {root: data}
"""


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "net"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(WRITTEN | {"ended": True}))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "metrics.csv").write_text("epoch,step,val/accuracy\n0,1,0.5\n")
    (folder / "curves.png").write_bytes(b"large")
    torch.save({"global_step": 7}, folder / "checkpoints" / "last.ckpt")
    test = {"test/accuracy": 0.9, "checkpoint": "checkpoints/last.ckpt", "checkpoint_step": 7, "examples": 100}
    (folder / "test_metrics.json").write_text(json.dumps(test))
    other = tmp_path / "runs" / "net_originals"
    other.mkdir()
    elsewhere = {"test/accuracy": 0.8, "checkpoint": "runs/net/checkpoints/last.ckpt"}
    (other / "test_metrics.json").write_text(json.dumps(test | elsewhere))
    return folder


def collect(run_folder: Path, *more: str) -> Path:
    results = run_folder.parents[1] / "results"
    given = ["--table", "equal_time", "--data", "a copy", "--results", str(results)]
    main([str(run_folder), *given, "--test", f"originals={run_folder}_originals", *more])
    return results / "net"


def test_small_files_are_copied_and_make_a_row(run_folder: Path) -> None:
    to = collect(run_folder)
    names = {"run.json", "config.yaml", "metrics.csv", "test_metrics.json", "test_metrics_originals.json"}
    assert {path.name for path in to.iterdir()} == names
    run = read_run(to)
    assert (run.record["row"], run.record["seed"], run.record["data"]) == ("ResNet-20", 3, "a copy")
    assert (
        run.record["checkpoint"]["sha256"]
        == hashlib.sha256((run_folder / "checkpoints/last.ckpt").read_bytes()).hexdigest()
    )
    table = content("equal_time", [run])
    assert "| ResNet-20 | 1,234,567 | 40.6M | 2 | 20 min | 90.00 |  | 80.00 |  | 3 | `abc1234` |" in table


def test_figures_of_other_weights_are_refused(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = run_folder.parent / "net_originals/test_metrics.json"
    figures = json.loads(other.read_text())
    other.write_text(json.dumps(figures | {"checkpoint_step": 8}))
    with pytest.raises(SystemExit):
        collect(run_folder)
    assert "--test originals: " in (error := capsys.readouterr().err) and "at step 8, not of " in error
    torch.save({"global_step": 9}, run_folder / "checkpoints" / "last.ckpt")  # resumed after its test
    with pytest.raises(SystemExit):
        collect(run_folder)
    assert "last.ckpt is now of step 9: test it again" in capsys.readouterr().err


def test_what_was_collected_before_is_replaced(run_folder: Path) -> None:
    to = collect(run_folder)
    record = json.loads((to / "run.json").read_text())
    (to / "run.json").write_text(json.dumps(record | {"outdated": "the recipe has changed"}))
    collect(run_folder, "--row", "mine", "--note", "quiet")
    record = json.loads((to / "run.json").read_text())
    assert "outdated" not in record
    assert (record["row"], record["note"]) == ("mine", "quiet")


def test_a_score_stays_while_it_is_of_the_same_translations(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "test_hypotheses.txt").write_text("ein Hund\n")
    to = collect(run_folder)
    score = {"bleu": 1.5, "hypotheses_sha256": hashlib.sha256(b"ein Hund\n").hexdigest()}
    (to / "moses_bleu.json").write_text(json.dumps(score))
    collect(run_folder)
    assert json.loads((to / "moses_bleu.json").read_text()) == score
    assert "note" not in capsys.readouterr().out
    (run_folder / "test_hypotheses.txt").write_text("eine Katze\n")
    collect(run_folder)
    assert not (to / "moses_bleu.json").exists()
    assert "moses_bleu.json was of other translations and is gone" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["results/net", "../net", ".."])
def test_a_row_is_a_folder_within_the_results(run_folder: Path, capsys: pytest.CaptureFixture[str], to: str) -> None:
    with pytest.raises(SystemExit):
        collect(run_folder, "--to", to)
    assert f"--to {to} must be the name of a folder within" in capsys.readouterr().err
    assert not (run_folder.parents[1] / "results").exists()


def test_a_run_that_has_not_ended_is_refused(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder / "run.json").write_text(json.dumps(WRITTEN | {"ended": False}))
    with pytest.raises(SystemExit):
        collect(run_folder)
    assert "has not ended" in capsys.readouterr().err
    (run_folder / "run.json").unlink()
    with pytest.raises(SystemExit):
        collect(run_folder)
    assert "no run.json" in capsys.readouterr().err


def test_a_test_on_other_texts_is_refused(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = "{init_args: {test_source: test.en, test_target: test.de}}"
    (run_folder / "config.yaml").write_text(f"{CONFIG}    task: {task}\n".replace("{root: data}", "\n    root: data"))
    metrics = json.loads((run_folder / "test_metrics.json").read_text())
    (run_folder / "test_metrics.json").write_text(json.dumps(metrics | {"data": "val.en, val.de"}))
    with pytest.raises(SystemExit):
        collect(run_folder)
    assert "test_metrics.json has the scores of val.en, val.de, but the test files in" in capsys.readouterr().err
    (run_folder / "test_metrics.json").write_text(json.dumps(metrics | {"data": "test.en, test.de"}))
    assert collect(run_folder).is_dir()


def test_paths_of_this_machine_are_refused_or_replaced(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder / "config.yaml").write_text(CONFIG.replace("root: data", "root: /mnt/mine/data"))
    with pytest.raises(SystemExit):
        collect(run_folder)
    assert "config.yaml names /mnt/mine/data" in capsys.readouterr().err
    to = collect(run_folder, "--replace", "/mnt/mine/data=data")
    assert (to / "config.yaml").read_text() == CONFIG


def test_a_commit_with_changes_is_reported(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect(run_folder)
    assert "note:" not in capsys.readouterr().out
    (run_folder / "run.json").write_text(json.dumps(WRITTEN | {"ended": True, "commits": ["abc1234+changes"]}))
    collect(run_folder)
    assert "abc1234+changes" in capsys.readouterr().out


def test_a_network_without_a_depth_has_its_class_as_name() -> None:
    architecture = {"class_path": "architectures.mobinet.MobiNet"}
    assert network_name({"model": {"init_args": {"architecture": architecture}}}) == "MobiNet"


def test_the_checkpoint_that_was_tested_is_prepared_for_a_release(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(run_folder)
    arguments = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]
    release([*arguments, "--results", str(tmp_path / "results")])
    weights = (run_folder / "checkpoints" / "last.ckpt").read_bytes()
    assert (tmp_path / "out" / "net.ckpt").read_bytes() == weights
    digest = hashlib.sha256(weights).hexdigest()
    assert (tmp_path / "out" / "SHA256SUMS").read_text() == f"{digest}  net.ckpt\n"
    capsys.readouterr()
    (run_folder / "checkpoints" / "last.ckpt").write_bytes(b"trained further")
    release([*arguments[:2], "--output", str(tmp_path / "again"), "--results", str(tmp_path / "results")])
    assert "last.ckpt is not the checkpoint that was tested" in capsys.readouterr().out
    assert not (tmp_path / "again" / "net.ckpt").exists()
