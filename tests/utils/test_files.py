"""Whole files or none: readers, killed and competing writers, links and devices, a full disk."""

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.utils.writers import kill, names, python, start_inside
from utils.files import atomic_path, write_lines, write_text

WAIT_INSIDE = """
with atomic_path(sys.argv[1]) as path:
    path.write_text(sys.argv[2])
    print("inside", flush=True)
    sys.stdin.readline()
"""


def start_writing(target: Path, text: str) -> subprocess.Popen[str]:
    """Start a process that has written `text` to its temporary file and waits for a line to end the block."""
    return start_inside(WAIT_INSIDE, target, text)


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate("\n", timeout=30)
    return process.returncode


# --- one writer ----------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_only_when_the_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "er" / "curves.png"
    with atomic_path(target) as path:
        assert path.suffix == ".png"
        assert path.parent == target.parent
        path.write_text("old")
        assert not target.exists()
    assert target.read_text() == "old"
    with atomic_path(str(target)) as path:
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(target.parent) == {"curves.png"}


@pytest.mark.parametrize("error", [RuntimeError("half"), KeyboardInterrupt()])
def test_a_block_that_raises_leaves_the_old_file(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def fail() -> None:
        with atomic_path(tmp_path / "a.txt") as path:
            path.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_content_is_on_the_disk_before_the_file_is_renamed(tmp_path, monkeypatch):
    target, flushed, fsync = tmp_path / "a.txt", [], os.fsync
    target.write_text("old")

    def keep(descriptor: int) -> None:
        fsync(descriptor)
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append(("folder" if is_folder else os.pread(descriptor, 100, 0).decode(), target.read_text()))

    monkeypatch.setattr(os, "fsync", keep)
    write_text(target, "new")
    assert flushed == [("new", "old"), ("folder", "new")]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: specify a file in it"):
        write_text(tmp_path, "text")
    assert names(tmp_path) == set()


def test_text_is_utf8_with_its_own_line_ends_and_never_fails_to_encode(tmp_path):
    write_text(tmp_path / "a.txt", "Grüße\r\n猫 caf\udce9\n\ud83d\n")
    assert (tmp_path / "a.txt").read_bytes() == "Grüße\r\n猫 caf\\xe9\n\\ud83d\n".encode()
    write_lines(tmp_path / "b.txt", (word for word in ("one", "", "three")))
    assert (tmp_path / "b.txt").read_bytes() == b"one\n\nthree\n"
    write_lines(tmp_path / "b.txt", [])
    assert (tmp_path / "b.txt").read_bytes() == b""


# --- several writers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "no suffix", "a[1].tar.gz"])
def test_what_a_killed_process_left_is_removed_and_that_of_a_running_one_kept(tmp_path, name):
    target = tmp_path / name
    write_text(target, "old")
    running, killed = start_writing(target, "from the other"), start_writing(target, "half")
    assert len(names(tmp_path)) == 3
    kill(killed)
    assert target.read_text() == "old"
    assert len(names(tmp_path)) == 3

    write_text(target, "new")
    assert target.read_text() == "new"
    assert len(names(tmp_path)) == 2
    assert finish(running) == 0
    assert target.read_text() == "from the other"
    assert names(tmp_path) == {name}


def test_leftovers_of_other_files_and_of_other_machines_are_kept(tmp_path, monkeypatch):
    for target in (tmp_path / "a.txt", tmp_path / "b.txt"):
        kill(start_writing(target, "half"))
    assert len(names(tmp_path)) == 2
    with monkeypatch.context() as elsewhere:  # the process may run there
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        write_text(tmp_path / "a.txt", "new")
    assert len(names(tmp_path)) == 3
    write_text(tmp_path / "a.txt", "new")
    assert len(names(tmp_path)) == 2  # a.txt and what is left of b.txt


def test_a_leftover_of_another_machine_is_removed_after_a_day(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    kill(start_writing(target, "half"))
    (leftover,) = tmp_path.iterdir()
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    for hours, left in ((23, {leftover.name, "a.txt"}), (25, {"a.txt"})):
        os.utime(leftover, (time.time() - 3600 * hours,) * 2)
        write_text(target, "new")
        assert names(tmp_path) == left


def test_many_processes_write_the_same_file_and_readers_see_whole_ones(tmp_path):
    target, size = tmp_path / "a.txt", 300_000
    write_text(target, "0" * size)
    code = """
letter = sys.argv[2]
for _ in range(40):
    write_text(sys.argv[1], letter * int(sys.argv[3]))
"""
    writers = [python(code, target, letter, size) for letter in "abcd"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        text = target.read_text()
        assert len(text) == size
        assert text == text[0] * size
        seen.add(text[0])
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(seen) > 1  # there was something to see
    assert names(tmp_path) == {"a.txt"}


# --- links and devices ---------------------------------------------------------------------------------------------


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    """In a run folder that is somebody else's, a link may lead to any file."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.txt").write_text("old")
    for name, target in (("link.txt", "there/real.txt"), ("dangling.txt", "there/new.txt"), ("folder.txt", "there")):
        (tmp_path / name).symlink_to(target)
        write_text(tmp_path / name, "new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text() == "new"
    assert names(tmp_path / "there") == {"real.txt"}
    assert (tmp_path / "there" / "real.txt").read_text() == "old"


def device(folder: Path, name: str, minor: int) -> Path:
    """Return a path to a device like /dev/null, in `folder` if that may be made there.

    Only root can make one, and only root could replace the system's own if the code under test were broken.
    """
    if os.geteuid() != 0:
        return Path("/dev") / name
    try:
        os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        (folder / name).open("w").close()
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    return folder / name


@pytest.mark.skipif(sys.platform != "linux", reason="devices have other numbers elsewhere")
def test_a_device_is_written_through_even_by_way_of_a_link(tmp_path):
    null = device(tmp_path, "null", minor=3)
    (tmp_path / "null.txt").symlink_to(null)
    before = names(tmp_path)
    for path in (null, tmp_path / "null.txt"):
        write_text(path, "into nothing")
        assert stat.S_ISCHR(null.stat().st_mode)
        assert names(tmp_path) == before


def test_a_named_pipe_is_written_through(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "through the pipe")
    reader.join(timeout=30)
    assert received == ["through the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == {"pipe"}


# --- full disks ----------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path):
    """A limit on the size of files stands for the disk; the kernel stops the write in the middle."""
    target = tmp_path / "a.txt"
    write_text(target, "old")
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, {resource.RLIM_INFINITY}))
try:
    write_text(sys.argv[1], "x" * 1_000_000)
except OSError as error:
    sys.exit(error.errno)
"""
    assert python(code, target).wait(timeout=30) == errno.EFBIG
    assert target.read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.skipif(sys.platform != "linux", reason="devices have other numbers elsewhere")
def test_a_device_that_is_full_raises(tmp_path):
    with pytest.raises(OSError, match="No space left on device"):
        write_text(device(tmp_path, "full", minor=7), "text")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a file system")
def test_a_file_system_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        write_text(tmp_path / "a.txt", "old")
        with pytest.raises(OSError, match=r"a\.txt cannot be written: the disk is full"):
            write_text(tmp_path / "a.txt", "x" * 1_000_000)
        assert (tmp_path / "a.txt").read_text() == "old"
        assert names(tmp_path) == {"a.txt"}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
