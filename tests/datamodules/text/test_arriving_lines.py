"""Lines as they arrive are those that `read_lines` finds in the whole, however the stream is cut."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.text.arriving_lines import arriving_lines
from datamodules.text.files import read_lines

GOOD = [
    b"a\n\nb\n",
    b"a\nb",
    b"\n\n",
    b"a\r\nb\nc\r\n",
    b"a\rb\r\rc\r",
    "\ufeffeins\nzwei\u2028\n".encode(),
    b"\r\n",
]
BAD = [b"a\nb\xff\n", b"a\nb\rc\n", b"a\nb\rc", b"a\r\r\nb\r\r\n", b"a\nb\0c\n", b"a\n\xc3"]


def reader(content: bytes, size: int) -> Callable[[int], bytes]:
    """Return a function that reads `size` bytes at a time."""
    parts = [content[first : first + size] for first in range(0, len(content), size)]
    return lambda most: parts.pop(0) if parts else b""


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("content", GOOD)
def test_lines_are_those_of_the_whole(tmp_path: Path, content: bytes, size: int) -> None:
    (tmp_path / "x").write_bytes(content)
    parts = arriving_lines(reader(content, size), "standard input")
    assert [line for lines in parts for line in lines] == read_lines(str(tmp_path / "x"), "x")


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("content", BAD)
def test_errors_are_those_of_the_whole(tmp_path: Path, content: bytes, size: int) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="line") as whole:
        read_lines(str(tmp_path / "x"), "here")
    with pytest.raises(ValueError, match="line") as arriving:
        list(arriving_lines(reader(content, size), f"here: {tmp_path / 'x'}"))
    assert str(arriving.value) == str(whole.value)


def test_a_long_line_is_not_searched_again_with_each_part() -> None:
    content = b"x" * (1 << 25) + b"\n"  # by the square of its parts, minutes
    start = time.process_time()
    assert [len(line) for lines in arriving_lines(reader(content, 1 << 12), "x") for line in lines] == [1 << 25]
    assert time.process_time() - start < 5


def test_a_line_is_there_before_the_next_one_arrives() -> None:
    def read(most: int) -> bytes:
        asked.append(len(asked))
        return [b"eins\nzw", b"ei\n", b""][asked[-1]]

    asked: list[int] = []
    lines = arriving_lines(read, "standard input")
    assert next(lines) == ["eins"]
    assert asked == [0]
    assert [*lines] == [["zwei"]]


def test_nothing_is_no_line() -> None:
    assert [*arriving_lines(reader(b"", 1), "standard input")] == []
