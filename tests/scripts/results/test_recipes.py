"""A row is either marked or was made with the configs as they are now."""

import subprocess
from pathlib import Path

import pytest

from scripts.results.recipes import changed_configs
from scripts.results.runs import Run, read_runs
from tests.scripts.results.published import publish

UNMARKED = [run for run in read_runs() if "outdated" not in run.record]


def git(root: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("run", UNMARKED, ids=lambda run: run.name)
def test_configs_of_unmarked_rows_are_those_of_their_commits(run: Run) -> None:
    try:
        changed = changed_configs(run)
    except (LookupError, OSError):
        pytest.skip("the history is not here")
    assert not changed, f"run {run.name} again, or add `outdated` to results/{run.name}/run.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with two configs, of which one is the base of the other."""
    root = tmp_path / "checkout"
    (root / "configs" / "a").mkdir(parents=True)
    (root / "configs" / "a" / "base.yaml").write_text("lr: 0.1\n")
    net = "# 10 minutes\nbase: base.yaml\nepochs: 3\ntrainer: {precision: 32-true}\n"
    (root / "configs" / "a" / "net.yaml").write_text(net)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    return root


@pytest.mark.parametrize("option", ["--config a/net.yaml", "--config=configs/a/net.yaml"])
def test_values_count_and_neither_comments_nor_an_open_precision_do(root: Path, tmp_path: Path, option: str) -> None:
    commit = git(root, "rev-parse", "--short=9", "HEAD").strip()
    run = publish(tmp_path, "run", 0.9, command=f"oneforall fit {option} --trainer.max_epochs 3", commits=[commit])
    net, base = root / "configs" / "a" / "net.yaml", root / "configs" / "a" / "base.yaml"
    net.write_text("# 11 minutes\nbase: base.yaml\nepochs: 3  # enough\ntrainer: {precision: auto}\n")
    assert changed_configs(run, root) == []
    net.write_text("base: base.yaml\nepochs: 3\ntrainer: {precision: 16-mixed}\n")
    assert changed_configs(run, root) == ["configs/a/net.yaml"]
    net.write_text("base: base.yaml\nepochs: 3\ntrainer: {precision: auto}\n")
    base.write_text("lr: 0.1\nepochs: 7\n")  # of which the config says otherwise
    assert changed_configs(run, root) == []
    base.write_text("lr: 0.2\n")
    assert changed_configs(run, root) == ["configs/a/net.yaml"]
    net.unlink()
    assert changed_configs(run, root) == ["configs/a/net.yaml"]


def test_a_commit_that_is_not_there_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="123456789"):
        changed_configs(publish(tmp_path, "run", 0.9, commits=["123456789"]), root)
