import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.quickstart import QUICKSTART, SMALL

BEGAN = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, help="after so many seconds no other test begins (.ci/run)")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Stop between two tests: a signal would reach the handlers of the one that is running, which may test signals."""
    seconds = item.config.getoption("seconds")
    if seconds is not None and time.monotonic() - BEGAN > seconds:
        item.session.shouldstop = f"no test begins after {seconds:g} s"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked `first` ahead of all others, so that a run that stops early has had them."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """Restore the environment variables after each test.

    Lightning sets some, such as MASTER_ADDR, and the next test that starts processes would wait for that machine.
    """
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


class Outcome:
    """What a call of the command line left: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err
        self.last_line = err.strip().splitlines()[-1] if err.strip() else ""


@pytest.fixture
def oneforall(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Outcome]:
    """Runs the command line in this process, in a folder of its own; it must not end in a traceback."""
    import cli  # takes seconds, and few tests need it

    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["oneforall", *args])
        capsys.readouterr()
        try:
            cli.main(list(args))
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        outcome = Outcome(code, *capsys.readouterr())
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small finished run, shared by the tests that only read it."""
    from tests.tiny_runs import command  # imports take seconds, and few tests need them

    folder = tmp_path_factory.mktemp("finished") / "run"
    command("fit", "--config", QUICKSTART, *SMALL, "--run_dir", str(folder))
    return folder


@pytest.fixture(scope="session")
def image_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny image classifier, shared by the tests that only read it."""
    from tests.tiny_runs import train_images

    return train_images(tmp_path_factory.mktemp("images") / "run")


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny text-to-text model, shared by the tests that only read it."""
    from tests.tiny_runs import train_texts

    return train_texts(tmp_path_factory.mktemp("texts") / "run")
