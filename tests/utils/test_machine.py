"""The commit of the program, by git itself, and what Linux says of the processor."""

import subprocess
from pathlib import Path

import pytest

from utils.machine import commit, processor, processor_facts


def git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    for name in ("code.py", "results/LOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    commit.cache_clear()


def test_is_that_of_the_checkout_and_results_do_not_change_it(checkout: Path) -> None:
    (checkout / "results" / "LOG.md").write_text("2\n")
    (checkout / "new.txt").write_text("not tracked\n")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD")[:9]


def test_says_that_files_differ(checkout: Path) -> None:
    (checkout / "code.py").write_text("2\n")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD")[:9] + "+changes"


def test_is_unknown_where_the_program_is_installed_within_another_checkout(checkout: Path) -> None:
    (checkout / "site-packages").mkdir()
    assert commit(checkout / "site-packages") is None


def test_is_unknown_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit(checkout) is None


def test_the_processor_is_named() -> None:
    assert processor()


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="Linux only")
def test_facts_are_those_of_one_processor() -> None:
    facts = processor_facts()
    assert facts["processor"] == "0"
    assert facts.get("model name", processor()) == processor()
