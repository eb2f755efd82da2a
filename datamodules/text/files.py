"""Text files, plain or gzip, read whole; errors name the file and the line.

A format of one's own is a `TextTask` (`tasks.py`).
"""

from __future__ import annotations

import errno
import gzip
import zlib
from pathlib import Path

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
"""How a gzip file begins."""

MAGIC = {
    b"PK\x03\x04": "a zip archive (or a spreadsheet): unpack it, or save the texts as UTF-8 text",
    **{b"BZh%d1AY&SY" % level: "a bzip2 file: unpack it with bunzip2" for level in range(1, 10)},
    b"\xfd7zXZ\x00": "an xz file: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it with unzstd",
    b"version https://git-lfs.github.com/spec/": "a pointer of git-lfs, not the file itself: run `git lfs pull`",
    b"PAR1\x15": "a Parquet file: use the config datasets/hf_texts.yaml, or save the texts as .csv or .jsonl",
    b"\xff\xfe": "UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
}
"""How files that are not UTF-8 text begin, what they are, and what to do."""


def read_lines(path: str, argument: str) -> list[str]:
    r"""Return the lines of a text file without line ends.

    Lines are those that an editor counts: they end with "\n", "\r\n" or, in a file without any "\n", "\r". No other
    separator ends a line, not even "\f" or U+2028, and a line end at the end of the file starts no other line.

    Args:
        path: A text file, UTF-8 with or without a byte order mark, plain or gzip (recognized by content). It may be a
            pipe, which can be read only once.
        argument: The argument that the user set to `path`, for errors.

    Raises:
        FileNotFoundError: The file does not exist.
        IsADirectoryError: It is a folder.
        ValueError: It is empty, not UTF-8, a damaged gzip file or no text, or has a "\r" amid lines that end with "\n",
            which some editors and tools take for a line end and others do not.
    """
    return read_text(path, argument).removesuffix("\n").split("\n")


def read_text(path: str, argument: str) -> str:
    r"""Return the whole content of a text file with "\n" as line ends; arguments and errors as `read_lines`."""
    content = read_bytes(path, argument)
    if b"\r" in content:
        content = with_plain_line_ends(content, f"{argument}: {path}")
    return decode(content, f"{argument}: {path}")


def with_plain_line_ends(content: bytes, place: str, first: int = 1) -> bytes:
    r"""Return the bytes of a text with "\n" as line ends; arguments and errors as `decode`."""
    content = content.replace(b"\r\n", b"\n")
    stray = content.find(b"\r")
    if stray < 0:
        return content
    if b"\n" not in content:
        return content.replace(b"\r", b"\n")
    line = content.count(b"\n", 0, stray) + first
    raise ValueError(
        f"{place}, line {line}: a carriage return (\\r) within the line, which only some programs treat as a line end: "
        "replace each one, with a space (tr '\\r' ' ') or with a line end (tr '\\r' '\\n')"
    )


def decode(content: bytes, place: str, first: int = 1) -> str:
    """Return the text of a file's content.

    Args:
        content: The bytes.
        place: Where they come from, for errors.
        first: Number of their first line.

    Raises:
        ValueError: They are not text in UTF-8; the message names the line.
    """
    found, problem = content.find(b"\0"), "a NUL character, so it is not text or not UTF-8"
    if found < 0:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            found = error.start
            column = found - content.rfind(b"\n", 0, found)
            problem = f"not UTF-8 (byte {column} of the line is 0x{content[found]:02x})"
    line = content.count(b"\n", 0, found) + first
    raise ValueError(f"{place}, line {line}: {problem}: save the file as UTF-8")


def read_bytes(path: str, argument: str) -> bytes:
    """Return the content of a file, decompressed, without a byte order mark; arguments and errors as `read_lines`."""
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"{argument}: {path} is a folder: specify a file in it")
    if not file.exists():
        raise FileNotFoundError(f"{argument}: the file {path} does not exist")
    content = _read(file)
    if content.startswith(GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{argument}: {path} is a damaged gzip file ({error}): download or write it again"
            ) from error
    for start, explanation in MAGIC.items():
        if content.startswith(start):
            raise ValueError(f"{argument}: {path} is {explanation}")
    content = content.removeprefix(BYTE_ORDER_MARK)
    if not content:
        hint = "" if file.is_file() else " (a pipe can be read only once)"
        raise ValueError(f"{argument}: {path} is empty{hint}: it must contain text")
    return content


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        if error.errno != errno.ENXIO or file != Path("/dev/stdin"):
            raise
    with open(0, "rb", closefd=False) as stdin:  # a socket, as under ssh, which cannot be opened by name
        return stdin.read()
