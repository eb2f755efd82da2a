"""Several seeds: their runs, and the mean and spread of their scores as computed by hand."""

import json
import math
from pathlib import Path

import pytest

from command_line.start import is_series
from sweeps.seeds import seeds_of
from sweeps.series import run_series
from tests.sweeps.conftest import FakeTrainings, Killed, flags_of

FIT = ["fit", "--config", "quickstart/images.yaml", "--model.optimizer.lr", "0.2"]
SCORES = {"0": 0.90, "1": 0.94, "2": 0.95}


@pytest.fixture(autouse=True)
def scores(trainings: FakeTrainings) -> None:
    trainings.score = lambda flags: SCORES[flags["seed_everything"]]


def figures(out: str, row: str) -> list[float]:
    return [float(cell) for line in out.splitlines() if line.startswith(row) for cell in line.split()[1:]]


def test_mean_and_spread_are_those_computed_by_hand(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_series([*FIT, "--name", "x", "--seeds", "0..2"]) == 0
    out = capsys.readouterr().out
    assert trainings.started == [
        [*FIT, "--seed_everything", str(seed), "--run_dir", f"runs/x-seed{seed}", "--resume"] for seed in (0, 1, 2)
    ]
    mean = (0.90 + 0.94 + 0.95) / 3  # 0.93
    spread = math.sqrt(((0.90 - mean) ** 2 + (0.94 - mean) ** 2 + (0.95 - mean) ** 2) / 2)  # 0.0265
    assert figures(out, "mean ") == [pytest.approx(mean, rel=1e-4)]
    assert figures(out, "spread ") == [pytest.approx(spread, rel=0.01)]
    assert [figures(out, f"{seed} ") for seed in (0, 1, 2)] == [[0.9], [0.94], [0.95]]
    assert "test them:  oneforall test --ckpt_path runs/x --seeds 0..2\n" in out


def test_the_name_is_that_of_the_config_and_a_list_will_do(trainings: FakeTrainings) -> None:
    assert run_series([*FIT, "--seeds=2,0"]) == 0
    assert [flags_of(args)["run_dir"] for args in trainings.started] == ["runs/images-seed2", "runs/images-seed0"]


def test_it_resumes_where_it_was_killed(trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]) -> None:
    trainings.kill_at = 1
    with pytest.raises(Killed):
        run_series([*FIT, "--seeds", "0..2"])
    assert run_series([*FIT, "--seeds", "0..2"]) == 0
    assert {flags_of(args)["run_dir"][-1] for args in trainings.started} == {"0", "1", "2"}
    assert figures(capsys.readouterr().out, "mean ") == [pytest.approx(0.93, rel=1e-4)]


def test_a_test_of_all_seeds_has_mean_and_spread_too(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, accuracy in (("0", 0.5), ("3", 0.7)):
        folder = Path(f"runs/x-seed{seed}")
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "best.ckpt").touch()
        content = {"test/accuracy": accuracy, "test/class_accuracy/cat": 1.0, "examples": 5, "signature": None}
        (folder / "test_metrics.json").write_text(json.dumps(content))
    trainings.score = lambda flags: 0.0
    assert run_series(["test", "--ckpt_path", "runs/x/", "--seeds", "0,3", "--trainer.devices", "1"]) == 0
    assert trainings.started == [["test", "--trainer.devices", "1", "--ckpt_path", f"runs/x-seed{n}"] for n in (0, 3)]
    out = capsys.readouterr().out
    assert figures(out, "mean ") == [0.6]
    assert figures(out, "spread ") == [pytest.approx(0.1414, rel=0.01)]
    assert "class_accuracy" not in out


def test_a_test_of_runs_that_are_not_there_leaves_nothing(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_series(["test", "--ckpt_path", "runs/typo", "--seeds", "0..1"]) == 2
    assert "runs/typo-seed0 does not exist; pass the name of `fit --seeds`" in capsys.readouterr().err
    assert not Path("runs").exists()
    assert not trainings.started


def test_a_run_that_fails_ends_all_with_its_code(trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]) -> None:
    trainings.codes = {1: 2}
    assert run_series([*FIT, "--seeds", "0..2"]) == 2
    assert capsys.readouterr().err == "oneforall: error: seed 1: training 1 failed\n"


@pytest.mark.parametrize(("code", "kept"), [(2, False), (1, True)])
def test_a_run_that_is_refused_leaves_no_folder(trainings: FakeTrainings, code: int, kept: bool) -> None:
    trainings.codes = {1: code}
    assert run_series([*FIT, "--name", "x", "--seeds", "0..2"]) == code
    assert Path("runs/x-seed0").is_dir()
    assert Path("runs/x-seed1").is_dir() == kept  # with the log of a failure that is not the user's


def test_a_folder_that_was_there_before_is_kept(trainings: FakeTrainings) -> None:
    Path("runs/x-seed0").mkdir(parents=True)
    trainings.codes = {0: 2}
    assert run_series([*FIT, "--name", "x", "--seeds", "0..1"]) == 2
    assert Path("runs/x-seed0").is_dir()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--seeds", "a"], "--seeds is a, but must be a range such as 0..4 or a list such as 0,3,7"),
        (["--seeds", "4..2"], "--seeds 4..2 has no seed"),
        (["--seeds", "1,0..2"], "has a seed twice"),
        (["--seeds", "0..99999999999"], "has a seed above 4294967295; write it as 0..4 or 0,3,7"),
        (["--seeds", "0..2000"], "has 2,001 seeds, each of which is a whole run; give at most 1,000"),
        (["--seeds", "²"], "--seeds is ², but must be a range such as 0..4"),
        (["--seeds"], "--seeds needs a value, such as 0..4"),
        (["--seeds", "0..1", "--run_dir", "x"], "--run_dir is the same for all runs of --seeds; leave it out"),
        (["--seeds", "0..1", "--seed_everything=3"], "--seed_everything is the same for all runs"),
        (["--seeds", "0..1", "--config", "none.yaml"], "config none.yaml does not exist"),
        (["--seeds", "0..1", "--name", "../x"], "--name ../x is outside runs/"),
    ],
)
def test_a_mistake_ends_in_one_line_and_trains_nothing(
    trainings: FakeTrainings, args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_series([*FIT, *args]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not trainings.started


def test_seeds_are_a_range_or_a_list() -> None:
    assert seeds_of("0..4") == [0, 1, 2, 3, 4]
    assert seeds_of("0,3,7") == [0, 3, 7]
    assert seeds_of("5") == [5]


def test_the_command_line_asks_for_them_only_in_fit_and_test() -> None:
    assert is_series([*FIT, "--seeds", "0..4"])
    assert is_series(["test", "--seeds=0,1", "--ckpt_path", "runs/x"])
    assert not is_series([*FIT, "--seeds", "0..4", "--help"])
    assert not is_series(FIT)
    assert not is_series(["predict", "--seeds", "0..4"])


def test_a_name_for_the_tests_of_all_seeds_is_a_mistake(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_series(["test", "--ckpt_path", "runs/x", "--seeds", "0..1", "--name", "y"]) == 2
    assert capsys.readouterr().err.endswith("--name is the same for all runs of --seeds; leave it out\n")
    assert not trainings.started


def test_home_is_expanded_for_all_seeds(
    trainings: FakeTrainings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_series(["test", "--ckpt_path=~/runs/x", "--seeds", "0..1"]) == 2
    assert f"{tmp_path}/runs/x-seed0 does not exist" in capsys.readouterr().err
