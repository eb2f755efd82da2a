"""A sweep has as many trials as it should, however it is stopped, and names the best one."""

import math
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from command_line.tools import run_tool
from sweeps.study import Study
from tests.sweeps.conftest import FakeTrainings, Killed, flags_of

SPACE = "model.optimizer.lr: [0.001, 1.0, log]\nmodel.optimizer.weight_decay: [0.0, 0.1]\n"
SWEEP = ["sweep", "quickstart/images.yaml", "space.yaml", "--name", "s"]


@pytest.fixture(autouse=True)
def config(trainings: FakeTrainings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space, and what the first check would print."""
    Path("space.yaml").write_text(SPACE)
    printed = {"checkpoint": {"monitor": "val/accuracy", "mode": "max"}}
    monkeypatch.setattr("sweeps.sweep.resolved_config", lambda *args: printed)


def tried(trainings: FakeTrainings) -> list[float]:
    return [float(flags_of(args)["model.optimizer.lr"]) for args in trainings.started]


def test_each_trial_is_a_fit_in_a_folder_of_its_own(trainings: FakeTrainings) -> None:
    assert run_tool([*SWEEP, "--trials", "3", "--trainer.max_epochs", "5"]) == 0
    for number, args in enumerate(trainings.started, start=1):
        assert args[:6] == ["fit", "--report=false", "--config", args[3], "--trainer.max_epochs", "5"]
        assert args[3].endswith("configs/quickstart/images.yaml")
        assert args[-3:] == ["--run_dir", f"runs/s/trial-{number:03}", "--resume"]
        assert 0.001 <= float(flags_of(args)["model.optimizer.lr"]) <= 1
        assert 0 <= float(flags_of(args)["model.optimizer.weight_decay"]) <= 0.1
    assert len(set(tried(trainings))) == 3


def test_trials_write_no_page_unless_the_user_asks_for_it(trainings: FakeTrainings) -> None:
    assert run_tool([*SWEEP, "--trials", "1"]) == 0
    assert run_tool([*SWEEP[:-1], "t", "--trials", "1", "--report", "true"]) == 0
    assert [flags_of(args)["report"] for args in trainings.started] == ["false", "true"]


def test_the_best_is_named_with_the_command_that_tests_it_also_when_run_again(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool([*SWEEP, "--trials", "6", "--no_pruning"]) == 0
    first = capsys.readouterr().out
    rates = tried(trainings)
    winner = min(range(6), key=lambda place: abs(math.log10(rates[place]) + 1)) + 1
    assert f"\nbest: trial {winner}, val/accuracy " in first
    assert f"test it:  oneforall test --ckpt_path runs/s/trial-{winner:03}\n" in first
    rows = first.split("\ntrial  val/accuracy")[1].splitlines()[1:7]
    assert [int(row.split()[0]) for row in rows] == sorted(
        range(1, 7), key=lambda place: abs(math.log10(rates[place - 1]) + 1)
    )
    assert run_tool([*SWEEP, "--trials", "6"]) == 0
    assert len(trainings.started) == 6
    assert (
        capsys.readouterr().out.strip()
        == "\ntrial  val/accuracy".join(["", first.split("\ntrial  val/accuracy")[1]]).strip()
    )


def test_a_sweep_that_is_killed_anywhere_has_the_trials_of_one_that_is_not(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool([*SWEEP, "--trials", "8", "--name", "whole"]) == 0
    whole, report = tried(trainings), capsys.readouterr().out.split("\ntrial  val/accuracy")[1]
    trainings.started.clear()

    for kill_at in (0, 3, 9):
        trainings.kill_at = kill_at
        with pytest.raises(Killed):
            run_tool([*SWEEP, "--trials", "8"])
    trainings.kill_at = None
    assert run_tool([*SWEEP, "--trials", "8"]) == 0

    folders = [args[-2] for args in trainings.started]
    assert folders == [f"runs/s/trial-{n:03}" for n in (1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8)]
    by_folder = dict(zip(folders, tried(trainings), strict=True))
    assert list(by_folder.values()) == whole
    assert all(by_folder[folder] == rate for folder, rate in zip(folders, tried(trainings), strict=True))
    assert capsys.readouterr().out.split("\ntrial  val/accuracy")[1] == report.replace("runs/whole", "runs/s")


def test_more_trials_may_follow(trainings: FakeTrainings) -> None:
    assert run_tool([*SWEEP, "--trials", "2"]) == 0
    assert run_tool([*SWEEP, "--trials", "4"]) == 0
    assert len(trainings.started) == 4


def test_each_choice_is_tried_once_there_are_enough_trials(trainings: FakeTrainings) -> None:
    Path("space.yaml").write_text(
        "model.optimizer.lr: {choices: [0.01, 0.1, 1.0]}\nmodel.schedule: {choices: [OneCycle, Constant]}\n"
    )
    for trials in ("3", "50", "50"):
        assert run_tool([*SWEEP, "--trials", trials]) == 0
    pairs = {(flags_of(args)["model.optimizer.lr"], flags_of(args)["model.schedule"]) for args in trainings.started}
    assert len(pairs) == 6
    assert len(trainings.started) <= 8  # the first three may have tried one of them twice or thrice


def test_a_trial_below_the_median_is_stopped(trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]) -> None:
    scores = iter([5.0, 6.0, 7.0, 8.0, 1.0, 9.0])
    trainings.score = lambda flags: next(scores)
    assert run_tool([*SWEEP, "--trials", "6"]) == 0
    out = capsys.readouterr().out
    trials = Study(Path("runs/s/sweep.db"), {}).ended()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4 + ["PRUNED", "COMPLETE"]
    assert out.count("stopped: worse than the median") == 1
    assert "best: trial 6, val/accuracy 9" in out


def test_choices_are_tried_once_each(trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(
        "model.optimizer.lr: {choices: [0.01, 0.1, 1.0]}\nmodel.schedule: {choices: [OneCycle, Constant]}\n"
    )
    assert run_tool([*SWEEP, "--trials", "50", "--no_pruning"]) == 0
    pairs = [(flags_of(args)["model.optimizer.lr"], flags_of(args)["model.schedule"]) for args in trainings.started]
    assert sorted(pairs) == sorted((lr, name) for lr in ("0.01", "0.1", "1.0") for name in ("OneCycle", "Constant"))


def test_a_trial_that_fails_counts_and_is_not_the_best(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.codes = {1: 1, 2: 2}
    assert run_tool([*SWEEP, "--trials", "4", "--no_pruning"]) == 0
    out = capsys.readouterr().out
    assert "  failed: training 1 failed\n" in out
    assert len(trainings.started) == 4
    states = [trial.state.name for trial in Study(Path("runs/s/sweep.db"), {}).ended()]
    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    trainings.codes = dict.fromkeys(range(4, 9), 1)
    with pytest.raises(SystemExit) as leaving:
        run_tool([*SWEEP, "--trials", "2", "--name", "none"])
    assert leaving.value.code == 1
    assert "no trial has trained to the end; see why in runs/none/trial-*/output.log" in capsys.readouterr().err


def test_a_mistake_of_the_first_trial_ends_the_sweep_and_leaves_nothing(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.codes = {0: 2}
    assert run_tool([*SWEEP, "--trials", "4"]) == 2
    assert capsys.readouterr().err == "oneforall: error: the first trial cannot start: training 0 failed\n"
    assert not Path("runs/s").exists()


@pytest.mark.parametrize("code", [-9, 143])
def test_a_trial_that_something_else_kills_is_resumed_next_time(
    trainings: FakeTrainings, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.codes = {2: code}
    with pytest.raises(SystemExit) as leaving:
        run_tool([*SWEEP, "--trials", "4"])
    assert leaving.value.code == 1
    assert "trial 3 was killed; resume the sweep with: oneforall" in capsys.readouterr().err
    assert run_tool([*SWEEP, "--trials", "4"]) == 0
    assert [args[-2][-3:] for args in trainings.started] == ["001", "002", "003", "003", "004"]


def test_what_keeps_two_trials_from_starting_ends_the_sweep_and_not_all_trials(
    trainings: FakeTrainings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sweeps.training.last_line", lambda folder: "the data are not there")
    trainings.codes = {2: 2, 3: 2}
    with pytest.raises(SystemExit) as leaving:
        run_tool([*SWEEP, "--trials", "5", "--no_pruning"])
    assert leaving.value.code == 1
    assert "trial 4 cannot start, as the one before it (the data are not there); mend it" in capsys.readouterr().err
    assert run_tool([*SWEEP, "--trials", "5", "--no_pruning"]) == 0
    assert [args[-2][-3:] for args in trainings.started] == ["001", "002", "003", "004", "004", "005"]


def test_a_config_that_has_changed_is_another_sweep(
    trainings: FakeTrainings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool([*SWEEP, "--trials", "2"]) == 0
    edited = {"checkpoint": {"monitor": "val/accuracy", "mode": "min"}}
    monkeypatch.setattr("sweeps.sweep.resolved_config", lambda *args: edited)
    assert run_tool([*SWEEP, "--trials", "3"]) == 2
    error = capsys.readouterr().err
    assert "images.yaml has changed since the sweep in runs/s began (checkpoint.mode max -> min); undo it" in error
    assert len(trainings.started) == 2


def test_a_trial_that_is_killed_twice_at_the_same_step_has_failed(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.codes = {1: -9, 2: -9}
    with pytest.raises(SystemExit):
        run_tool([*SWEEP, "--trials", "3", "--no_pruning"])
    assert run_tool([*SWEEP, "--trials", "3", "--no_pruning"]) == 0
    assert "  failed: killed twice without progress, perhaps because memory ran out\n" in capsys.readouterr().out
    assert [args[-2][-3:] for args in trainings.started] == ["001", "002", "002", "003"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--seeds", "0..4"], "--seeds is a flag of fit: `oneforall fit --config "),
        (["--run_dir", "x"], "--run_dir is set by the sweep for each trial; leave it out"),
        (["--model.optimizer.lr=1"], "--model.optimizer.lr is also in the search space; remove one of the two"),
        (["--trials", "0"], "--trials must be at least 1, got 0"),
        (["--name", "../x"], "is outside runs/"),
        (["--name", "."], "is runs/ itself; pass a name within it"),
        (["--config", "none.yaml"], "config none.yaml does not exist"),
        (["--seed_everythin", "1"], "there is no option seed_everythin; did you mean seed_everything?"),
    ],
)
def test_a_mistake_on_the_command_line_trains_nothing(
    trainings: FakeTrainings, args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool([*SWEEP, *args]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not trainings.started
    assert not Path("runs").exists()


def test_a_folder_of_another_run_or_sweep_is_left_alone(
    trainings: FakeTrainings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool([*SWEEP, "--trials", "1"]) == 0
    assert run_tool([*SWEEP, "--trials", "2", "--trainer.max_epochs", "9"]) == 2
    assert "runs/s has a sweep with other flags, none instead of --trainer.max_epochs 9" in capsys.readouterr().err
    Path("space.yaml").write_text(SPACE.replace("1.0", "2.0"))
    assert run_tool([*SWEEP, "--trials", "2"]) == 2
    assert "choose another folder with --name NAME, or remove runs/s" in capsys.readouterr().err
    Path("runs/other").mkdir()
    Path("runs/other/config.yaml").touch()
    assert run_tool([*SWEEP, "--name", "other"]) == 2
    assert "runs/other is taken by another run; choose another folder with --name NAME" in capsys.readouterr().err
    assert len(trainings.started) == 1
