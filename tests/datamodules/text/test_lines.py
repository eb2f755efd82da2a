"""Lines that stay in their file are those of a file that is read whole."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from datamodules.text import lines
from datamodules.text.files import read_lines
from datamodules.text.lines import FilledLines, Lines, open_lines

CONTENTS = {
    "plain": b"one\ntwo\n",
    "no last line end": b"one\ntwo",
    "empty lines": b"\n\none\n\n",
    "one empty line": b"\n",
    "byte order mark": b"\xef\xbb\xbfone\ntwo\n",
    "other separators": "ü\x0cx\n\u2028 \x85y\x1c\nz".encode(),
    "CRLF": b"one\r\ntwo\r\n",
    "CR": b"one\rtwo\r",
    "gzip": gzip.compress(b"one\n\ntwo"),
    "empty": b"",
    "only a mark": b"\xef\xbb\xbf",
    "a CR amid a line": b"one\rtwo\n",
    "not UTF-8": b"one\nt\xffwo\n",
    "cut in a character": "one\nü".encode()[:-1],
    "a NUL": b"one\nt\0wo\n",
    "an archive": b"PK\x03\x04one\n",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\n",
}


def outcome(function: Callable[[str, str], Iterable[str]], path: Path) -> list[str] | tuple[type, str]:
    try:
        return list(function(str(path), "train_source"))
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_lines_and_errors_are_those_of_a_file_that_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block: int
) -> None:
    monkeypatch.setattr(lines, "_BLOCK", block)
    monkeypatch.setattr(lines, "_LINES", 2)
    path = tmp_path / "file"
    path.write_bytes(CONTENTS[name])
    expected = outcome(read_lines, path)
    assert outcome(open_lines, path) == expected
    if isinstance(expected, list):
        opened = open_lines(str(path), "train_source")
        assert [opened[number] for number in range(len(opened))] == expected
        assert opened[-1] == expected[-1]
        assert opened[1:] == expected[1:]


def test_only_a_plain_file_stays_on_the_disk(tmp_path: Path) -> None:
    for name in ("plain", "gzip", "CRLF"):
        (tmp_path / name).write_bytes(CONTENTS[name])
        held = isinstance(open_lines(str(tmp_path / name), "x")._content, bytes)
        assert held == (name != "plain")


def test_errors_name_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        assert outcome(open_lines, path) == outcome(read_lines, path)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"one\ntwo\n")
    os.close(write)
    opened = open_lines(f"/dev/fd/{read}", "x")
    assert [list(opened), list(opened)] == [["one", "two"]] * 2
    os.close(read)


@pytest.mark.parametrize(
    ("content", "number"),
    [("a\n\nb", 1), ("a\n \t\u3000\nb", 1), (" a\nb\n\x1c\n", 2), ("a\n\u200b\n", None), ("a", None)],
)
def test_the_first_blank_line_is_found(tmp_path: Path, content: str, number: int | None) -> None:
    (tmp_path / "file").write_text(content)
    opened = open_lines(str(tmp_path / "file"), "x")
    assert opened.first_blank() == number
    assert number == next((place for place, line in enumerate(opened) if not line.strip()), None)


def test_a_file_that_is_changed_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\ntwo\n")
    opened = open_lines(str(path), "x")
    assert isinstance(opened, Lines)
    path.write_text("three\nfour\n")
    with pytest.raises(OSError, match="file was changed while it was being read"):
        opened[0]


@pytest.mark.parametrize("content", ["a\n", "\n\na\n", "a\n \nb\n\n\t\n\nc", "\n \n", "a\n\n", "a\nb\nc\n"])
def test_lines_that_are_not_blank_have_their_numbers(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    expected = [line for line in content.split("\n") if line.strip()]
    filled = FilledLines(open_lines(str(tmp_path / "file"), "x"))
    assert list(filled) == expected
    assert [filled[number] for number in range(len(filled))] == expected
    assert filled[-2:] == expected[-2:]
