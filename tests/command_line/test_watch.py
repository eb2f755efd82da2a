"""Processes that Lightning starts: when one is killed the others end within a minute, and say which it was."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIT = [
    *["fit", "--config", "quickstart/images.yaml", "--model.architecture.widths", "[4,4,4]", "--model.tta", "none"],
    *["--trainer.accelerator", "cpu", "--trainer.strategy", "ddp", "--trainer.devices", "2"],
    *["--trainer.max_epochs", "100000", "--trainer.callbacks", "[]", "--run_dir", "run"],
]


def children_of(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_running(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.first
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("killed", [0, 1])
def test_21406_a_process_that_is_killed_ends_the_other_which_names_it(killed: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        first = subprocess.Popen(
            [sys.executable, "-m", "cli", *FIT],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    second = None
    try:
        deadline = time.monotonic() + 240
        while "epoch 2/" not in log.read_text():
            assert first.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        (second,) = (each for each in children_of(first.pid) if is_running(each))
        os.kill((first.pid, second)[killed], signal.SIGKILL)
        moment = time.monotonic()
        while first.poll() is None or is_running(second):
            assert time.monotonic() - moment < 60, log.read_text()
            time.sleep(0.1)
    finally:
        for process in (first.pid, second):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        first.wait()
    said = log.read_text()
    assert f"oneforall: error: rank {1 - killed} cannot continue: rank {killed} does not answer" in said
    assert "Traceback" not in said
    assert first.returncode == (-signal.SIGKILL if killed == 0 else 1)
