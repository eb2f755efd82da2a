"""A process that is followed gets each signal once, and stops by itself if the one that follows it dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps import training
from utils import interruption
from utils.lock import FolderLock

ROOT = Path(__file__).parents[2]

PROGRAM = """
import signal, sys, time
sys.path.insert(0, {root!r})
from command_line.watch_parent import stop_without_parent
got = []
signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
signal.signal(signal.SIGINT, lambda number, frame: got.append(number))
stop_without_parent()
print("args:", *sys.argv[1:], flush=True)
if sys.argv[1] == "wait":
    while not got:
        time.sleep(0.05)
    time.sleep(0.7)  # for more signals
    print("got", *got, flush=True)
    sys.exit(128 + got[0])
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(root=str(ROOT)))
    monkeypatch.setattr(training, "PROGRAM", file)
    return file


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_begun(folder: Path) -> bool:
    return (folder / training.LOG).is_file() and "args:" in (folder / training.LOG).read_text()


@pytest.mark.parametrize("code", [0, 2])
def test_the_exit_code_is_returned_and_the_output_kept(tmp_path: Path, code: int) -> None:
    looks = []

    def look() -> bool:
        looks.append(1)
        return False

    for _ in range(2):
        assert training.follow([str(code), "x"], tmp_path / "run", look) == code
    assert (tmp_path / "run" / "output.log").read_text() == 2 * f"args: {code} x\n"
    assert len(looks) >= 2
    assert training.last_line(tmp_path / "run") == f"args: {code} x"


def test_what_is_looked_at_may_stop_it(tmp_path: Path) -> None:
    assert training.follow(["wait"], tmp_path / "run", lambda: has_begun(tmp_path / "run")) == 143
    assert training.last_line(tmp_path / "run") == "got 15"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once(tmp_path: Path, number: signal.Signals) -> None:
    def send() -> None:
        wait_for(lambda: has_begun(tmp_path / "run"))
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    with interruption.signals_raise():
        interruption.defer(True)
        assert training.follow(["wait"], tmp_path / "run", lambda: False) == 128 + number
        assert interruption.requested() == number
    assert training.last_line(tmp_path / "run") == f"got {int(number)}"


def test_it_stops_if_the_process_that_follows_it_is_killed(tmp_path: Path, program: Path) -> None:
    code = f"""if True:
        from pathlib import Path
        from sweeps import training
        training.PROGRAM = Path({str(program)!r})
        training.follow(["wait"], Path({str(tmp_path / "run")!r}), lambda: False)
        """
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_for(lambda: has_begun(tmp_path / "run"))
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: training.last_line(tmp_path / "run") == "got 15")


def test_a_process_that_still_writes_into_the_folder_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    waits = []

    class Busy(FolderLock):
        def __init__(self, folder: Path) -> None:
            waits.append(folder)
            if len(waits) < 3:
                raise BlockingIOError(f"run folder {folder} is in use")
            super().__init__(folder)

    monkeypatch.setattr(training, "FolderLock", Busy)
    assert training.follow(["0"], tmp_path / "run", lambda: False) == 0
    assert len(waits) == 3
    waits.clear()
    monkeypatch.setattr(training, "PATIENCE", -1.0)
    with pytest.raises(BlockingIOError, match="is in use"):
        training.follow(["0"], tmp_path / "run", lambda: False)
