import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from utils import lock
from utils.lock import FolderLock, taking_turns

HOLD = """
import sys, time
from pathlib import Path
from utils.lock import FolderLock
held = FolderLock(Path(sys.argv[1]))
if "fork" in sys.argv:
    import os
    if os.fork() == 0:
        print("child", os.getpid(), flush=True)
        time.sleep(60)
print("locked", flush=True)
time.sleep(60)
"""


def holder(folder: Path, *how: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *how],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    assert process.stdout is not None
    while "locked" not in process.stdout.readline():
        pass
    return process


def test_a_second_process_is_refused_by_host_and_number_until_the_first_is_killed(tmp_path):
    first = holder(tmp_path)
    with pytest.raises(BlockingIOError, match=f"process {first.pid} on {socket.gethostname()}"):
        FolderLock(tmp_path)
    first.kill()
    first.wait()
    FolderLock(tmp_path).release()


def test_a_forked_child_does_not_hold_the_lock_of_its_parent(tmp_path):
    first = holder(tmp_path, "fork")
    first.kill()
    first.wait()
    try:
        FolderLock(tmp_path).release()
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_release_gives_the_folder_back(tmp_path):
    FolderLock(tmp_path).release()
    process = holder(tmp_path)
    process.kill()
    process.wait()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    """In a run folder that is somebody else's, it may lead to any file."""
    (tmp_path / "run").mkdir()
    (tmp_path / "other.txt").write_text("content")
    (tmp_path / "run" / lock.NAME).symlink_to(tmp_path / "other.txt")
    with pytest.raises(OSError, match="symbolic links"):
        FolderLock(tmp_path / "run")
    assert (tmp_path / "other.txt").read_text() == "content"


def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.warns(UserWarning, match="cannot be locked"):
        FolderLock(tmp_path)


def test_processes_take_turns(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from utils.lock import taking_turns
with taking_turns(Path({str(tmp_path)!r})):
    print("in", flush=True)
    time.sleep(0.5)
    Path({str(tmp_path / "done")!r}).touch()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with taking_turns(tmp_path):
            assert (tmp_path / "done").exists()
    assert other.returncode == 0


def test_a_folder_that_cannot_be_locked_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with taking_turns(tmp_path):
        assert not (tmp_path / "elsewhere").exists()
