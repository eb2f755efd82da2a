"""Text files: lines and rows of good ones, and errors that name the line of bad ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket
import threading
from pathlib import Path

import pytest

from datamodules.text.files import read_lines, read_text


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"\n\n", ["", ""]),
        (b"a\r\nb\nc\r\n", ["a", "b", "c"]),
        (b"a\rb\r\rc\r", ["a", "b", "", "c"]),
        (
            "".join(f"{c}{ord(c):x}" for c in "\v\f\x1c\x1d\x1e\x85\u2028\u2029").encode(),
            ["\vb\fc\x1c1c\x1d1d\x1e1e\x8585\u20282028\u20292029"],
        ),
        ("one\x0c1\ntwo\u20282\x85\n".encode(), ["one\x0c1", "two\u20282\x85"]),
        ("\ufeffone\ntwo ü".encode(), ["one", "two ü"]),
        (gzip.compress("eins\nzwei ü".encode(), mtime=0), ["eins", "zwei ü"]),
        (gzip.compress("\ufeffeins\n".encode(), mtime=0), ["eins"]),
    ],
)
def test_lines_are_those_that_an_editor_counts(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    assert read_lines(write(tmp_path / "x", content), "x") == lines


def test_a_whole_text_has_plain_line_ends_and_no_byte_order_mark(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "text.txt", "\ufeffone\r\ntwo\n"), "data.path") == "one\ntwo\n"
    assert read_text(write(tmp_path / "text.gz", gzip.compress("ä\n\nb".encode(), mtime=0)), "data.path") == "ä\n\nb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "^data.path: .*bad is empty"),
        (b"\xef\xbb\xbf", "^data.path: .*bad is empty"),
        (b"a\nb\xff\n", r"^data.path: .*bad, line 2: not UTF-8 \(byte 2 of the line is 0xff\)"),
        (gzip.compress(b"a" * 999, mtime=0)[:-9], "^data.path: .*bad is a damaged gzip file"),
        (b"a\nb\rc\n", "^data.path: .*bad, line 2: a carriage return"),
        (b"a\r\r\nb\r\r\n", "^data.path: .*bad, line 1: a carriage return"),
        (b"a\nb\0c\n", "^data.path: .*bad, line 2: a NUL character"),
        ("one\n".encode("utf-16"), "^data.path: .*bad is UTF-16: save it as UTF-8"),
        ("\ufeffone\n".encode("utf-16-be"), "^data.path: .*bad is UTF-16: save it as UTF-8"),
        (
            "a\nb\n".encode("utf-16-le"),
            "^data.path: .*bad, line 1: a NUL character, so it is not text or not UTF-8",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "bad is a pointer of git-lfs, .* `git lfs pull`",
        ),
        (bz2.compress(b"one"), "^data.path: .*bad is a bzip2 file"),
        (b"PAR1\x15\x04\x15", "^data.path: .*bad is a Parquet file"),
        (lzma.compress(b"one"), "^data.path: .*bad is an xz file"),
        (gzip.compress("one".encode("utf-16"), mtime=0), "^data.path: .*bad is UTF-16"),
    ],
)
def test_bad_files_are_named_with_the_argument(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "bad", content)
    for read in (read_lines, read_text):
        with pytest.raises(ValueError, match=message) as raised:
            read(path, "data.path")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["PAR1 is activated by thrombin.", "BZhang et al. wrote this.", "BZh9 is no archive."])
def test_texts_that_begin_like_another_format_are_texts(tmp_path: Path, text: str) -> None:
    assert read_lines(str(write(tmp_path / "x", text.encode())), "data.path") == [text]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"^val_target: the file nowhere does not exist$"):
        read_lines("nowhere", "val_target")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=rf"^data.path: {tmp_path} is a folder: specify a file in it$"):
        read_lines(str(tmp_path), "data.path")


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, gzip.compress(b"one\ntwo\n"))
    os.close(writing)
    try:
        assert read_lines(f"/dev/fd/{reading}", "x") == ["one", "two"]
        with pytest.raises(ValueError, match=r"is empty \(a pipe can be read only once\)"):
            read_lines(f"/dev/fd/{reading}", "x")
    finally:
        os.close(reading)
    os.mkfifo(tmp_path / "named")
    writer = threading.Thread(target=(tmp_path / "named").write_bytes, args=(b"three\r\n",))
    writer.start()
    assert read_lines(str(tmp_path / "named"), "x") == ["three"]
    writer.join()


def test_standard_input_may_be_a_socket() -> None:
    mine, theirs = socket.socketpair()
    mine.sendall("ä\nb\n".encode())
    mine.close()
    kept = os.dup(0)
    try:
        os.dup2(theirs.fileno(), 0)
        assert read_lines("/dev/stdin", "x") == ["ä", "b"]
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        theirs.close()
